/* The same layers in 8-bit integers: plain loops, as a person writes them without a library. Each hidden layer
 * rectifies and shifts its sums back to 8 bits. */
#include <stdint.h>
#include "int8.h"

static void dense(const int8_t *x, int n_in, const int8_t *weights, const int32_t *bias, int n_out, int32_t *sums)
{
    for (int r = 0; r < n_out; r++) {
        int32_t sum = bias[r];
        for (int i = 0; i < n_in; i++) {
            sum += (int32_t)weights[r * n_in + i] * x[i];
        }
        sums[r] = sum;
    }
}

static void activate(const int32_t *sums, int n, int8_t *x)
{
    for (int i = 0; i < n; i++) {
        int32_t value = sums[i] > 0 ? sums[i] >> 8 : 0;
        x[i] = (int8_t)(value < 127 ? value : 127);
    }
}

void int8_run(const uint8_t *pixels, int32_t *scores, void *scratch)
{
    int8_t *x = scratch;
    int32_t *sums = (int32_t *)(void *)(x + 784);
    for (int i = 0; i < 784; i++) {
        x[i] = (int8_t)(pixels[i] >> 1);
    }
    dense(x, 784, weights1, bias1, 256, sums);
    activate(sums, 256, x);
    dense(x, 256, weights2, bias2, 256, sums);
    activate(sums, 256, x);
    dense(x, 256, weights3, bias3, 256, sums);
    activate(sums, 256, x);
    dense(x, 256, weights4, bias4, 10, scores);
}
