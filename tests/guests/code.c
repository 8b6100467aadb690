/* SPDX-License-Identifier: MIT */
/*
 * Run as a guest, by tests/tools/test_guest_translations.c: goes through much code, as often as its
 * first argument says, and exits with 0 if that computed what a loop computes.
 */
#include <stdint.h>
#include <stdlib.h>

#define BLOCKS 100000

/* The jump makes each round a block for the processor's translator. */
uint64_t blocks(uint64_t x);
__asm__(".text\n"
	"blocks:\n"
	"	mov	%rdi, %rax\n"
	"	.rept	100000\n"
	"	imul	$3, %rax, %rax\n"
	"	add	$7, %rax\n"
	"	jmp	1f\n"
	"	ud2\n"
	"1:	xor	$5, %rax\n"
	"	.endr\n"
	"	ret\n");

static uint64_t loop(uint64_t x)
{
	for (unsigned int i = 0; i < BLOCKS; i++)
		x = (x * 3 + 7) ^ 5;
	return x;
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 1;
	uint64_t by_blocks = 1, by_loop = 1;

	for (int i = 0; i < rounds; i++) {
		by_blocks = blocks(by_blocks);
		by_loop = loop(by_loop);
	}
	return by_blocks != by_loop;
}
