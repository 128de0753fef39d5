/* Counts the instructions of one inference on a Cortex-M, emulated with one instruction per nanosecond of virtual
 * time, by the system timer of 25 MHz. Prints by semihosting: ticks of RUNS calls, then of a loop of known length. */
#include <stddef.h>
#include <stdint.h>
#include "bench.h"

enum { WRITE0 = 4, EXIT = 24 };
#define TIMER ((volatile uint32_t *)0xe000e010u)

static uint8_t pixels[INPUT_BYTES];
static uint64_t answer[OUTPUT_BYTES / 8 + 1], scratch[SCRATCH_BYTES / 8 + 1];

static void ask(uintptr_t what, const void *how)
{
    register uintptr_t r0 __asm__("r0") = what;
    register const void *r1 __asm__("r1") = how;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

static void print(const char *label, uint32_t number)
{
    char digits[12];
    size_t at = sizeof digits - 1;
    digits[at] = '\0';
    digits[--at] = '\n';
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    ask(WRITE0, label);
    ask(WRITE0, digits + at);
}

/* The timer counts down, 24 bits. */
static uint32_t now(void)
{
    return TIMER[2];
}

void reset(void);
void reset(void)
{
    *(volatile uint32_t *)0xe000ed88u |= 0xfu << 20;
    __asm__ volatile("dsb\n isb");
    uint32_t state = 1;
    for (size_t i = 0; i < INPUT_BYTES; i++) {
        state = state * 1664525u + 1013904223u;
        pixels[i] = (uint8_t)(state >> 24);
    }
    TIMER[1] = 0xffffffu;
    TIMER[2] = 0;
    TIMER[0] = 5;
    uint32_t start = now();
    for (int i = 0; i < RUNS; i++) {
        RUN(pixels, answer, scratch);
    }
    print("ticks ", (start - now()) & 0xffffffu);
    uint32_t n = 1000000;
    start = now();
    __asm__ volatile("1: subs %0, %0, #1\n bne 1b" : "+r"(n) : : "cc");
    print("loop ", (start - now()) & 0xffffffu);
    ask(EXIT, (const void *)(uintptr_t)0x20026);
    for (;;) {
    }
}

extern uint8_t stack_top[];
__attribute__((section(".vectors"), used)) static const uintptr_t vectors[] = {
    (uintptr_t)stack_top,
    (uintptr_t)reset,
};
