/* SPDX-License-Identifier: MIT */
/*
 * Single lines as strace 6.1 prints them, and lines that it would never print.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../tools/strace_line.h"

static struct strace_span span(const char *s)
{
	return (struct strace_span){ s, strlen(s) };
}

static void assert_span(struct strace_span s, const char *text)
{
	assert_int_equal(s.len, strlen(text));
	assert_memory_equal(s.p, text, s.len);
}

static struct strace_line line_of(const char *text)
{
	struct strace_line l;
	const char *wrong = strace_line_read(span(text), &l);

	if (wrong)
		fail_msg("%s: %s", text, wrong);
	return l;
}

static struct strace_call call_of(const char *text)
{
	struct strace_call c;
	const char *wrong = strace_call_read(span(text), &c);

	if (wrong)
		fail_msg("%s: %s", text, wrong);
	return c;
}

static void assert_bad_line(const char *text)
{
	struct strace_line l;

	if (!strace_line_read(span(text), &l))
		fail_msg("accepted: %s", text);
}

static void assert_bad_call(const char *text)
{
	struct strace_call c;

	if (!strace_call_read(span(text), &c))
		fail_msg("accepted: %s", text);
}

static void line_with_thread_column(void **state)
{
	struct strace_line l =
		line_of("4373  1795352783.438784 brk(NULL)       = 0x5638 <0.000071>");

	(void)state;
	assert_int_equal(l.kind, STRACE_CALL);
	assert_int_equal(l.tid, 4373);
	assert_int_equal(l.time_ns, 1795352783438784000);
	assert_span(l.name, "brk");
	assert_false(l.resumed || l.unfinished || l.detached);
}

static void line_with_bracketed_thread(void **state)
{
	struct strace_line l = line_of("[pid  4373] 1795352783.43 brk(0) = 0x1000");

	(void)state;
	assert_int_equal(l.tid, 4373);
	assert_int_equal(l.time_ns, 1795352783430000000);
	assert_span(l.text, "brk(0) = 0x1000");
}

static void line_without_thread_column(void **state)
{
	struct strace_line l = line_of("1795352783.438784123 brk(0) = 0x1000");

	(void)state;
	assert_int_equal(l.tid, 0);
	assert_int_equal(l.time_ns, 1795352783438784123);
}

static void unfinished_and_resumed_halves_join(void **state)
{
	struct strace_line a = line_of("1 1.0 clone3({flags=CLONE_VM} <unfinished ...>");
	struct strace_line b = line_of("1 2.0 <... clone3 resumed> => {x=[2]}, 88) = 2 <0.1>");

	(void)state;
	assert_true(a.unfinished && !a.resumed);
	assert_span(a.text, "clone3({flags=CLONE_VM}");
	assert_true(b.resumed && !b.unfinished);
	assert_span(b.name, "clone3");
	assert_span(b.text, " => {x=[2]}, 88) = 2 <0.1>");
}

static void detached_call_is_marked(void **state)
{
	(void)state;
	assert_true(line_of("1 1.0 ioctl(10, KVM_RUN <detached ...>").detached);
	assert_true(line_of("1 1.0 <... ioctl resumed> <detached ...>").detached);
}

static void lines_that_are_no_calls(void **state)
{
	(void)state;
	assert_int_equal(line_of("").kind, STRACE_NOTE);
	assert_int_equal(line_of("\r").kind, STRACE_NOTE);
	assert_int_equal(line_of("strace: Process 4188 attached").kind, STRACE_NOTE);
	assert_int_equal(line_of("1 1.0 --- SIGUSR1 {si_signo=SIGUSR1} ---").kind, STRACE_NOTE);
	assert_int_equal(line_of("1 1.0 --- stopped by SIGSTOP ---").kind, STRACE_NOTE);
	assert_int_equal(line_of("[pid 7] 1.0 +++ exited with 0 +++").kind, STRACE_EXIT);
	assert_int_equal(line_of("1 1.0 +++ killed by SIGKILL +++").kind, STRACE_EXIT);
}

static void superseded_names_the_other_thread(void **state)
{
	struct strace_line l = line_of("10 1.0 +++ superseded by execve in pid 12 +++");

	(void)state;
	assert_int_equal(l.kind, STRACE_SUPERSEDED);
	assert_int_equal(l.tid, 10);
	assert_int_equal(l.by_tid, 12);
}

static void garbage_lines_are_refused(void **state)
{
	static const char *const bad[] = {
		"hello",
		"4373",
		"4373 ",
		"4373 1795352783",
		"4373 1795352783.",
		"4373 brk(NULL) = 0",
		"4373 1.0",
		"4373 1.0 ",
		"4373 1.0 brk",
		"4373 1.0 (",
		"4373 1.0 <... brk",
		"4373 1.0 <... brk res",
		"4373 1.0 +++ exited with 0",
		"4373 1.0 --- SIGUSR1",
		"brk(NULL) = 0",
		"[pid",
		"[pid ",
		"[pid 1",
		"[pid x] 1.0 brk(0) = 0",
		"4373x 1.0 brk(0)",
		"4194305 1.0 brk(0) = 0",
		"0 1.0 brk(0) = 0",
		"99999999999999999999999 1.0 brk(0) = 0",
		"1 99999999999999999999.0 brk(0) = 0",
		"1 18446744074.0 brk(0) = 0",
		"1 12:30:01.5 brk(0) = 0",
		"-1 1.0 brk(0) = 0",
		"1 1.0 +++ superseded by execve in pid  +++",
		"1 1.0 +++ superseded by execve in pid 99999999 +++",
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_bad_line(bad[i]);
}

static void call_with_duration(void **state)
{
	struct strace_call c = call_of("munmap(0x7000, 4096)    = 0 <0.000022>");

	(void)state;
	assert_span(c.name, "munmap");
	assert_span(c.args, "0x7000, 4096");
	assert_false(c.failed);
	assert_int_equal(c.value, 0);
	assert_true(c.has_duration);
	assert_int_equal(c.duration_ns, 22000);
}

static void failed_calls_are_marked(void **state)
{
	(void)state;
	assert_true(call_of("mmap(1, 2) = -1 EEXIST (File exists) <0.001346>").failed);
	assert_true(call_of("ioctl(1, 2) = ? ERESTARTSYS (To be restarted)").failed);
	assert_true(call_of("exit(0)         = ?").failed);
	assert_true(call_of("futex(0x1, 2 <unfinished ...>) = ?").failed);
}

static void fd_paths_do_not_end_the_call(void **state)
{
	struct strace_call c = call_of(
		"ioctl(3</a) = 7>, X, 4</dev/kvm<char 10:232>>) = 4<anon_inode:kvm-vm> <0.1>");
	struct strace_span arg[4];

	(void)state;
	assert_int_equal(c.value, 4);
	assert_int_equal(c.duration_ns, 100000000);
	assert_int_equal(strace_args(c.args, arg, 4), 3);
	assert_span(arg[1], "X");
	c = call_of("read(3<TCP:[1.2.3.4:5->6.7.8.9:1]>, \"\", 1<<20) = 0");
	assert_int_equal(strace_args(c.args, arg, 4), 3);
}

static void strings_and_comments_do_not_end_the_call(void **state)
{
	struct strace_call c = call_of("execve(\"a\\\") = 1\", [\"x,y\"], 0x1 /* 7) vars, */) = 0");
	struct strace_span arg[4];

	(void)state;
	assert_int_equal(strace_args(c.args, arg, 4), 3);
	assert_span(arg[1], "[\"x,y\"]");
}

static void cut_off_calls_are_refused(void **state)
{
	static const char *const whole = "ioctl(9, X, {slot=0, s=\"a\\\"\"}) = 0";
	size_t n;

	(void)state;
	for (n = 0; n < strlen(whole); n++) {
		char *copy = malloc(n ? n : 1);
		struct strace_call c;

		assert_non_null(copy);
		memcpy(copy, whole, n);
		assert_non_null(strace_call_read((struct strace_span){ copy, n }, &c));
		free(copy);
	}
	assert_bad_call("brk(0)) = 0");
	assert_bad_call("brk(0) = zero");
	assert_bad_call("brk(0) = 0x12345678123456789");
	assert_bad_call("brk(0) 0");
}

static void fields_are_found_by_whole_name(void **state)
{
	struct strace_span v, s = span("{myslot=3, slot=65537, t={slot=4}, last=0x7}");

	(void)state;
	assert_true(strace_field(s, "slot", &v));
	assert_span(v, "65537");
	assert_true(strace_field(s, "last", &v));
	assert_span(v, "0x7");
	assert_true(strace_field(s, "t", &v));
	assert_span(v, "{slot=4}");
	assert_false(strace_field(s, "lot", &v));
}

static void numbers(void **state)
{
	uint64_t v;

	(void)state;
	assert_true(strace_number(span("18446744073709551615"), &v));
	assert_true(v == UINT64_MAX);
	assert_true(strace_number(span("0xffffffffffffffff"), &v));
	assert_true(v == UINT64_MAX);
	assert_true(strace_number(span("NULL"), &v) && v == 0);
	assert_true(strace_number(span("0x99 /* MADV_??? */"), &v) && v == 0x99);
	assert_true(strace_number(span("9<anon_inode:kvm-vm>"), &v) && v == 9);
	assert_false(strace_number(span("18446744073709551616"), &v));
	assert_false(strace_number(span("0x10000000000000000"), &v));
	assert_false(strace_number(span("0x"), &v));
	assert_false(strace_number(span("12z"), &v));
	assert_false(strace_number(span(""), &v));
}

static void flags_match_whole_words(void **state)
{
	struct strace_span mask = span("MAP_PRIVATE|MAP_FIXED_NOREPLACE|0x4000");

	(void)state;
	assert_false(strace_has_flag(mask, "MAP_FIXED", 0x10));
	assert_true(strace_has_flag(mask, "MAP_FIXED_NOREPLACE", 0x100000));
	assert_true(strace_has_flag(mask, "MAP_NORESERVE", 0x4000));
	assert_true(strace_has_flag(span("0x3 /* A|B */"), "B", 2));
	assert_false(strace_has_flag(span("0x1 /* A|B */"), "B", 2));
	assert_false(strace_has_flag(span(""), "B", 2));
	assert_true(strace_is(span("0x4 /* MADV_DONTNEED */"), "MADV_DONTNEED", 4));
	assert_false(strace_is(span("MADV_DONTNEED_LOCKED"), "MADV_DONTNEED", 4));
}

static void deep_and_long_lines_are_only_long(void **state)
{
	size_t n = 1 << 20, i;
	char *text = malloc(n);
	struct strace_span arg[2], v;
	struct strace_call c;

	(void)state;
	assert_non_null(text);
	memset(text, '(', n);
	memcpy(text, "x", 1);
	assert_non_null(strace_call_read((struct strace_span){ text, n }, &c));
	for (i = 0; i < n; i++)
		text[i] = "|A"[i % 2];
	assert_false(strace_has_flag((struct strace_span){ text, n }, "B", 1));
	assert_false(strace_field((struct strace_span){ text, n }, "B", &v));
	memset(text, ',', n);
	assert_int_equal(strace_args((struct strace_span){ text, n }, arg, 2), 2);
	memset(text, 0, n);
	assert_non_null(strace_call_read((struct strace_span){ text, n }, &c));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(line_with_thread_column),
		cmocka_unit_test(line_with_bracketed_thread),
		cmocka_unit_test(line_without_thread_column),
		cmocka_unit_test(unfinished_and_resumed_halves_join),
		cmocka_unit_test(detached_call_is_marked),
		cmocka_unit_test(lines_that_are_no_calls),
		cmocka_unit_test(superseded_names_the_other_thread),
		cmocka_unit_test(garbage_lines_are_refused),
		cmocka_unit_test(call_with_duration),
		cmocka_unit_test(failed_calls_are_marked),
		cmocka_unit_test(fd_paths_do_not_end_the_call),
		cmocka_unit_test(strings_and_comments_do_not_end_the_call),
		cmocka_unit_test(cut_off_calls_are_refused),
		cmocka_unit_test(fields_are_found_by_whole_name),
		cmocka_unit_test(numbers),
		cmocka_unit_test(flags_match_whole_words),
		cmocka_unit_test(deep_and_long_lines_are_only_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
