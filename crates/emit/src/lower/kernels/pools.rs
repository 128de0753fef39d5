//! Max and average pools.

use super::bits::Writer;
use super::products::Window;
use super::{Form, Kernels};
use crate::loops::build::{Build, Value};
use crate::loops::{Elem, Expr, Ty, Var};

/// Visits every output of a pool, in order.
fn for_each_output(
    f: &mut Build,
    (height, width, n_channels): (Var, Var, Var),
    body: impl FnOnce(&mut Build, Var, Var, Var),
) {
    f.repeat("y", 0u32, height, |f, y| {
        f.repeat("x", 0u32, width, |f, x| {
            f.repeat("c", 0u32, n_channels, |f, c| body(f, y, x, c));
        });
    });
}

impl Kernels {
    /// `(image, geometry, height, width, out)`: the greatest element of each window.
    pub(in crate::lower) fn max_pool(&mut self, form: Form) -> String {
        let name = format!("ob_max_pool_{}", form.name());
        let about = [
            "The greatest element of each window, of height by width outputs.",
            "geometry: as for a convolution.",
        ];
        self.get(name, &about, |kernels, mut f| {
            let image = f.input("image", form.elem());
            let geometry = f.input("geometry", Elem::I32);
            let (height, width) = (f.size("out_height"), f.size("out_width"));
            let out = f.output("out", form.elem());
            let window = Window::start(&mut f, geometry);
            let n_channels = f.local("n_channels", geometry.at(2).to(Ty::U32));
            let writer = Writer::start(kernels, &mut f, form, out);
            for_each_output(&mut f, (height, width, n_channels), |f, y, x, c| {
                let zero = match form {
                    Form::Reals => Expr::F32(0.0),
                    _ => Expr::I32(0),
                };
                let greatest = f.local("greatest", zero);
                let is_first = f.local("is_first", 1);
                window.taps(f, (y, x), |f, position, is_inside| {
                    f.when(is_inside, |f| {
                        let i = f.local("idx", position * n_channels + c);
                        let value = match form {
                            Form::Bits => kernels.bit_at(image, i.into()).to(Ty::I32),
                            _ => image.at(i),
                        };
                        let value = f.local("value", value);
                        f.when(is_first | value.gt(greatest), |f| {
                            f.set(greatest, value);
                            f.set(is_first, 0);
                        });
                    });
                });
                writer.push(f, greatest.into());
            });
            writer.finish(&mut f);
            f.finish()
        })
    }

    /// `(image, geometry, height, width, count, out)`: sums of windows, divided by the count of taps inside the
    /// image, or by `count` where it is not 0.
    pub(in crate::lower) fn avg_pool(&mut self, form: Form) -> String {
        let name = format!("ob_avg_pool_{}", form.name());
        let about = [
            "The average of each window, of height by width outputs; over `count` elements,",
            "or over those inside the image where count is 0. geometry: as for a convolution.",
        ];
        self.get(name, &about, |kernels, mut f| {
            let image = f.input("image", form.elem());
            let geometry = f.input("geometry", Elem::I32);
            let (height, width) = (f.size("out_height"), f.size("out_width"));
            let count = f.param("count", Ty::F32);
            let out = f.output("out", Elem::F32);
            let window = Window::start(&mut f, geometry);
            let n_channels = f.local("n_channels", geometry.at(2).to(Ty::U32));
            let at = f.local("at", 0u32);
            for_each_output(&mut f, (height, width, n_channels), |f, y, x, c| {
                let zero = match form {
                    Form::Reals => Expr::F32(0.0),
                    _ => Expr::I32(0),
                };
                let sum = f.local("sum", zero);
                let n = f.local("n", 0);
                window.taps(f, (y, x), |f, position, is_inside| {
                    f.when(is_inside, |f| {
                        let i = position * n_channels + c;
                        f.set(sum, sum + kernels.int_at(form, image, i));
                        f.set(n, n + 1);
                    });
                });
                let divisor = count.gt(0).select(count, n.to(Ty::F32));
                f.store(out, at, sum.to(Ty::F32) / divisor);
                f.set(at, at + 1);
            });
            f.finish()
        })
    }
}
