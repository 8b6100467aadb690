/* SPDX-License-Identifier: MIT */
/*
 * Signals that end the program are caught where nobody else has caught them, the terminal is set
 * back by what a handler may do, write() and tcsetattr(), and the signal takes its course.
 *
 * SIGWINCH and SIGTSTP are ignored meanwhile. ncurses would catch them otherwise, in any thread,
 * and a guest's system call would return EINTR; the view asks for the size instead.
 */
#include "run_terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

static const int fatal[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGABRT, SIGFPE,
			     SIGILL, SIGBUS, SIGSEGV, SIGSYS, SIGXCPU, SIGXFSZ };
static const int ignored[] = { SIGWINCH, SIGTSTP };

#define NR_FATAL (sizeof(fatal) / sizeof(fatal[0]))
#define NR_IGNORED (sizeof(ignored) / sizeof(ignored[0]))

/* A handler gets no argument but the signal's number, and there is one terminal: hence static. */
static struct {
	struct termios modes;
	char reset[128];
	size_t len;
	atomic_bool active; /* orders the above before the handler's use of it */
	struct sigaction before[NR_FATAL], before_ignored[NR_IGNORED];
	bool at_exit;
} terminal;

/* Once only, whoever comes first: two threads may fail at the same time. */
static void restore(void)
{
	if (!atomic_exchange(&terminal.active, false))
		return;
	/* Nothing can be done about a terminal that is gone. */
	if (write(STDOUT_FILENO, terminal.reset, terminal.len) < 0)
		return;
	tcsetattr(STDIN_FILENO, TCSANOW, &terminal.modes);
}

static void catch_fatal(int signal_number)
{
	int error = errno;

	restore();
	signal(signal_number, SIG_DFL);
	/* Comes when the handler returns, as does a fault by itself. */
	raise(signal_number);
	errno = error;
}

static void set_signals(void)
{
	struct sigaction catch = { .sa_handler = catch_fatal, .sa_flags = SA_ONSTACK };
	struct sigaction ignore = { .sa_handler = SIG_IGN };

	for (size_t i = 0; i < NR_FATAL; i++) {
		sigaction(fatal[i], NULL, &terminal.before[i]);
		if (terminal.before[i].sa_handler == SIG_DFL)
			sigaction(fatal[i], &catch, NULL);
	}
	for (size_t i = 0; i < NR_IGNORED; i++)
		sigaction(ignored[i], &ignore, &terminal.before_ignored[i]);
}

/* What others have caught since stays theirs; they may pass it on to our handler, which is idle. */
static void reset_signals(void)
{
	struct sigaction now;

	for (size_t i = 0; i < NR_FATAL; i++) {
		if (!sigaction(fatal[i], NULL, &now) && now.sa_handler == catch_fatal)
			sigaction(fatal[i], &terminal.before[i], NULL);
	}
	for (size_t i = 0; i < NR_IGNORED; i++)
		sigaction(ignored[i], &terminal.before_ignored[i], NULL);
}

int run_terminal_guard(void)
{
	if (tcgetattr(STDIN_FILENO, &terminal.modes))
		return -errno;
	if (!terminal.at_exit && atexit(restore))
		return -ENOMEM;
	terminal.at_exit = true;
	terminal.len = 0;
	atomic_store(&terminal.active, true);
	set_signals();
	return 0;
}

void run_terminal_reset_with(const char *const *sequences, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t len = sequences[i] ? strlen(sequences[i]) : 0;

		if (len > sizeof(terminal.reset) - terminal.len)
			continue;
		memcpy(terminal.reset + terminal.len, sequences[i], len);
		terminal.len += len;
	}
}

void run_terminal_unguard(void)
{
	atomic_store(&terminal.active, false);
	reset_signals();
}
