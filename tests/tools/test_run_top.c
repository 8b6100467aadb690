/* SPDX-License-Identifier: MIT */
/*
 * The full-screen view: its lines, and, in a process of its own on a terminal of its own, that the
 * terminal is as before when the process is gone, however it went.
 */
#include "made_up_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../tools/run_top.h"
#include "../../tools/run_top_text.h"

#include <ctype.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <utmp.h>

static void assert_plain(const char *text, unsigned int width)
{
	assert_true(strlen(text) <= width);
	for (; *text; text++)
		assert_true(isascii(*text) && isprint(*text));
}

static void test_lines_fit_every_width(void **state)
{
	struct made_up_run run;
	char text[TOP_WIDTH];

	make_up_run(&run, 30);
	for (unsigned int width = 0; width < TOP_WIDTH; width++) {
		top_header(TOP_OUTPUT, width, text);
		assert_plain(text, width);
		for (unsigned int i = 0; i < MADE_UP_GUESTS; i++) {
			top_guest(run.result.samples, i, width, text);
			assert_plain(text, width);
		}
		for (unsigned int i = 0; top_total(run.result.samples, i, width, text); i++)
			assert_plain(text, width);
	}
	forget_run(&run);
}

static void test_the_header_marks_what_is_sorted_by(void **state)
{
	char text[TOP_WIDTH];

	top_header(TOP_SWAPPED, 46, text);
	assert_string_equal(text, "Guest                 sTate  Resident *Swapped");
}

static void test_a_guest_is_a_row(void **state)
{
	struct made_up_run run;
	char text[TOP_WIDTH];

	make_up_run(&run, 3);
	top_guest(run.result.samples, 1, 46, text);
	assert_string_equal(text, "2 sort               exit 3      240K      56K");
	forget_run(&run);
}

static void test_what_invalidations_did_to_a_guest_fits_80_columns(void **state)
{
	struct made_up_run run;
	char text[TOP_WIDTH];

	make_up_run(&run, 3);
	top_header(TOP_GUEST, 80, text);
	assert_non_null(strstr(text, " sTate  Resident  Swapped  Merged  Faults  iNvalid  Elided"));
	top_guest(run.result.samples, 0, 80, text);
	assert_non_null(strstr(text, " 0    1k/s       3k   80.0%"));
	top_guest(run.result.samples, 1, 80, text);
	assert_non_null(strstr(text, " 0    1k/s       3k   90.0%"));
	forget_run(&run);
}

static void test_system_calls_are_shown_where_there_is_room(void **state)
{
	struct made_up_run run;
	char text[TOP_WIDTH];

	make_up_run(&run, 3);
	top_header(TOP_CALLS, 120, text);
	assert_non_null(strstr(text, "*sYscalls"));
	top_guest(run.result.samples, 0, 120, text);
	assert_non_null(strstr(text, "  3k"));
	forget_run(&run);
}

static void test_guests_are_sorted(void **state)
{
	struct made_up_run run;
	unsigned int order[MADE_UP_GUESTS];

	make_up_run(&run, 3);
	top_order(run.result.samples, TOP_RESIDENT, order);
	assert_int_equal(order[0], 1);
	/* Equal ones, and those of no order, stay as they are numbered. */
	top_order(run.result.samples, TOP_SHARED, order);
	assert_int_equal(order[0], 0);
	top_order(run.result.samples, TOP_GUEST, order);
	assert_int_equal(order[0], 0);
	top_order(run.result.samples, TOP_STATE, order);
	assert_int_equal(order[0], 0);
	forget_run(&run);
}

static void test_each_column_has_a_key(void **state)
{
	bool taken[TOP_NR_COLUMNS] = { false };

	for (int key = 0; key < 1000; key++) {
		enum top_column column = top_column_of(key);

		if (column == TOP_NR_COLUMNS)
			continue;
		assert_false(taken[column]);
		taken[column] = true;
		/* These mean something else. */
		assert_true(key != 'q' && key != 'x');
	}
	for (unsigned int i = 0; i < TOP_NR_COLUMNS; i++)
		assert_true(taken[i]);
}

static void test_bars_show_parts_of_the_pool(void **state)
{
	struct made_up_run run;
	char text[TOP_WIDTH];

	make_up_run(&run, 30);
	run.result.samples->latest.pool.frames = 1024;
	run.result.samples->latest.pool.free_frames = 512;
	run.result.samples->latest.pool.shared_frames = 256;
	assert_true(top_total(run.result.samples, 1, 100, text));
	assert_string_equal(text, "pool  [####=====.........] # 1M own, = 1M shared, . 2M free");
	/* Taken while they changed. */
	run.result.samples->latest.pool.free_frames = 1024;
	assert_true(top_total(run.result.samples, 1, 100, text));
	assert_string_equal(text, "pool  [====..............] # 0 own, = 1M shared, . 4M free");
	forget_run(&run);
}

#ifdef S2_HAVE_NCURSES

/* What the process does once the view is up. */
struct ending {
	const char *keys;
	int signal;
	bool hide;
	struct winsize size;
};

/* The process on the terminal: exits with 7 when the user wants the run to end. */
static void view_run(const struct ending *ending)
{
	struct made_up_run run;
	struct run_view *view;
	bool go_on;

	alarm(60);
	/* cmocka has caught some of them. */
	if (ending->signal)
		signal(ending->signal, SIG_DFL);
	setenv("TERM", "xterm", 1);
	make_up_run(&run, 30);
	view = run_top_create();
	if (!view)
		_exit(1);
	go_on = view->show(view, run.result.samples);
	if (ending->hide)
		view->hide(view);
	if (ending->signal)
		raise(ending->signal);
	/* Until it has read the keys that wait for it. */
	for (unsigned int i = 0; i < 100 && go_on && *ending->keys; i++) {
		go_on = view->show(view, run.result.samples);
		usleep(10000);
	}
	view->destroy(view);
	forget_run(&run);
	exit(go_on ? 0 : 7);
}

/* Reads what has been written to it; false: nobody has written, for a while. */
static bool read_terminal(int terminal, char *text, size_t size)
{
	struct pollfd fd = { .fd = terminal, .events = POLLIN };
	size_t len = strlen(text);
	ssize_t n;

	if (poll(&fd, 1, 10) <= 0)
		return false;
	n = read(terminal, text + len, size - 1 - len);
	assert_true(n > 0);
	text[len + (size_t)n] = '\0';
	return true;
}

/* Returns the status that waitpid(2) tells. */
static int run_on_terminal(const struct ending *ending, char *text, size_t size)
{
	struct termios before, after;
	int terminal, other, status;
	pid_t child;

	assert_int_equal(openpty(&terminal, &other, NULL, NULL, &ending->size), 0);
	assert_int_equal(tcgetattr(other, &before), 0);
	assert_true(write(terminal, ending->keys, strlen(ending->keys)) >= 0);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		login_tty(other);
		close(terminal);
		view_run(ending);
	}
	*text = '\0';
	while (!waitpid(child, &status, WNOHANG))
		read_terminal(terminal, text, size);
	while (read_terminal(terminal, text, size))
		continue;
	assert_int_equal(tcgetattr(other, &after), 0);
	close(other);
	close(terminal);
	assert_int_equal(before.c_lflag, after.c_lflag);
	assert_int_equal(before.c_iflag, after.c_iflag);
	assert_int_equal(before.c_oflag, after.c_oflag);
	return status;
}

#define SCREEN_TEXT 65536

/* xterm's sequences to go to the other screen, and to come back from it. */
#define ENTER "\033[?1049h"
#define LEAVE "\033[?1049l"

static void assert_restored(const struct ending *ending, int status)
{
	static char text[SCREEN_TEXT];
	const char *left = NULL;

	assert_int_equal(run_on_terminal(ending, text, sizeof(text)), status);
	assert_non_null(strstr(text, ENTER));
	for (const char *at = text; (at = strstr(at, LEAVE)); at++)
		left = at;
	assert_non_null(left);
	assert_null(strstr(left, ENTER));
	/* The cursor is to be seen again. */
	assert_null(strstr(left, "\033[?25l"));
}

#define SCREEN { .ws_row = 24, .ws_col = 80 }

static void test_the_terminal_is_restored_when_all_is_done(void **state)
{
	assert_restored(&(struct ending){ .keys = "", .size = SCREEN }, 0);
}

static void test_the_terminal_is_restored_by_fatal_signals(void **state)
{
	static const int signals[] = { SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGABRT, SIGSEGV };

	for (unsigned int i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		struct ending ending = { .keys = "", .signal = signals[i], .size = SCREEN };
		static char text[SCREEN_TEXT];
		int status = run_on_terminal(&ending, text, sizeof(text));

		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), signals[i]);
		assert_non_null(strstr(text, LEAVE));
	}
}

static void test_q_leaves_the_view_and_the_run_goes_on(void **state)
{
	assert_restored(&(struct ending){ .keys = "q", .size = SCREEN }, 0);
}

static void test_x_ends_the_run(void **state)
{
	assert_restored(&(struct ending){ .keys = "x", .size = SCREEN }, W_EXITCODE(7, 0));
}

static void test_keys_sort_and_scroll(void **state)
{
	/* Up, down, page up and down, home, end, and all that sorts. */
	assert_restored(&(struct ending){
				.keys = "\033OA\033OB\033[5~\033[6~\033OH\033OFgtrshfmwioney~\001x",
				.size = SCREEN },
			W_EXITCODE(7, 0));
}

static void test_a_tiny_terminal_will_do(void **state)
{
	for (unsigned short rows = 1; rows < 8; rows++) {
		struct ending ending = { .keys = "x", .size = { rows, 1 + rows * 3, 0, 0 } };

		assert_restored(&ending, W_EXITCODE(7, 0));
	}
}

static void test_what_is_printed_meanwhile_has_the_other_screen(void **state)
{
	assert_restored(&(struct ending){ .keys = "", .hide = true, .size = SCREEN }, 0);
}

#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines_fit_every_width),
		cmocka_unit_test(test_the_header_marks_what_is_sorted_by),
		cmocka_unit_test(test_a_guest_is_a_row),
		cmocka_unit_test(test_what_invalidations_did_to_a_guest_fits_80_columns),
		cmocka_unit_test(test_system_calls_are_shown_where_there_is_room),
		cmocka_unit_test(test_guests_are_sorted),
		cmocka_unit_test(test_each_column_has_a_key),
		cmocka_unit_test(test_bars_show_parts_of_the_pool),
#ifdef S2_HAVE_NCURSES
		cmocka_unit_test(test_the_terminal_is_restored_when_all_is_done),
		cmocka_unit_test(test_the_terminal_is_restored_by_fatal_signals),
		cmocka_unit_test(test_q_leaves_the_view_and_the_run_goes_on),
		cmocka_unit_test(test_x_ends_the_run),
		cmocka_unit_test(test_keys_sort_and_scroll),
		cmocka_unit_test(test_a_tiny_terminal_will_do),
		cmocka_unit_test(test_what_is_printed_meanwhile_has_the_other_screen),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
