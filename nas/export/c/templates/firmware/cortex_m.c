/* Start-up code for a Cortex-M of QEMU, output by semihosting, and how much the program needs of time and stack.
 * On a board of your own, its maker's start-up code takes the place of this file and of cortex_m.ld. */
#include <stdint.h>
#include <stdio.h>

#define SYSTICK ((volatile uint32_t *)0xE000E010) /* control, reload, current: a counter of 24 bits, downwards */
#define UNUSED_STACK 0xA5A5A5A5u

extern uint32_t data_load[], data_begin[], data_end[], bss_begin[], bss_end[], stack_top[];

static volatile uint32_t wraps;

int main(void);
void reset(void);
void systick(void);

__attribute__((section(".vectors"), used)) static void *const vectors[16] = {
    [0] = stack_top, [1] = (void *)reset, [15] = (void *)systick};

static void semihosting(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
}

int puts(const char *text)
{
    semihosting(4, text);
    semihosting(4, "\n");
    return 0;
}

static void put_number(const char *what, uint64_t number)
{
    char digits[21], *digit = digits + 20;
    *digit = '\0';
    do
        *--digit = (char)('0' + number % 10);
    while (number /= 10);
    semihosting(4, what);
    puts(digit);
}

void systick(void)
{
    wraps++;
}

void reset(void)
{
    uint32_t *unused = bss_end, *const stack = __builtin_frame_address(0);
    for (uint32_t *to = data_begin, *from = data_load; to < data_end;)
        *to++ = *from++;
    for (uint32_t *to = bss_begin; to < bss_end;)
        *to++ = 0;
    for (volatile uint32_t *to = unused; to < stack - 16;)
        *to++ = UNUSED_STACK;
    SYSTICK[1] = 0xFFFFFF;
    SYSTICK[2] = 0;
    SYSTICK[0] = 7; /* counts the processor's clock, and interrupts when it starts again */
    while (SYSTICK[2] == 0)
        continue;
    const int code = main();
    const uint64_t ticks = ((uint64_t)wraps << 24) + (0xFFFFFF - SYSTICK[2]);
    while (*unused == UNUSED_STACK)
        unused++;
    put_number("stack in bytes: ", 4u * (uint32_t)(stack_top - unused));
    put_number("instructions: ", ticks * 1000 / CLOCK_MHZ); /* one takes 1 ns in QEMU with -icount shift=0 */
    const uint32_t ended[2] = {0x20026, (uint32_t)code};
    semihosting(0x20, ended);
}
