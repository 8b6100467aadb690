/* SPDX-License-Identifier: MIT */
/*
 * The full-screen view. 'q' leaves it and the run goes on beneath a status line, since its results
 * are what took the time; 'x' ends the run. The screen is made anew from the latest sample each
 * time, whatever size it has by now.
 */
#include "run_top.h"

#include "run_status.h"

#include <stdio.h>
#include <unistd.h>

#ifdef S2_HAVE_NCURSES
#include "run_terminal.h"
#include "run_top_text.h"

#include <curses.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

struct top_view {
	struct run_view view;
	struct run_view *status; /* once the screen has been left; may be NULL */
	SCREEN *screen;          /* NULL once it has been left */
	enum top_column sort;
	unsigned int first; /* of the guests that are shown, how many are above */
	unsigned int page;  /* how many are shown */
	bool end;           /* the user wants to end the run */
};

static void leave_screen(struct top_view *top)
{
	if (!top->screen)
		return;
	endwin();
	run_terminal_unguard();
	delscreen(top->screen);
	top->screen = NULL;
}

static void scroll_by(struct top_view *top, int lines, unsigned int guests)
{
	unsigned int last = guests > top->page ? guests - top->page : 0;

	if (lines < 0 && top->first < (unsigned int)-lines)
		top->first = 0;
	else
		top->first += (unsigned int)lines;
	if (top->first > last)
		top->first = last;
}

static void handle_key(struct top_view *top, int key, unsigned int guests)
{
	int page = top->page ? (int)top->page : 1;

	if (key == 'q') {
		leave_screen(top);
		top->status = run_status_create();
	} else if (key == 'x') {
		top->end = true;
	} else if (key == KEY_UP) {
		scroll_by(top, -1, guests);
	} else if (key == KEY_DOWN) {
		scroll_by(top, 1, guests);
	} else if (key == KEY_PPAGE) {
		scroll_by(top, -page, guests);
	} else if (key == KEY_NPAGE || key == ' ') {
		scroll_by(top, page, guests);
	} else if (key == KEY_HOME) {
		top->first = 0;
	} else if (key == KEY_END) {
		scroll_by(top, (int)guests, guests);
	} else if (top_column_of(key) != TOP_NR_COLUMNS) {
		top->sort = top_column_of(key);
	}
}

static void follow_size(void)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || !size.ws_row || !size.ws_col)
		return;
	if (is_term_resized(size.ws_row, size.ws_col)) {
		resizeterm(size.ws_row, size.ws_col);
		/* What the terminal has made of the old screen is not what ncurses thinks. */
		clearok(curscr, TRUE);
	}
}

static void draw(unsigned int y, attr_t attributes, const char *text, bool fill)
{
	attrset(attributes);
	mvaddnstr((int)y, 0, text, COLS);
	if (fill) {
		for (int x = getcurx(stdscr); x < COLS && (size_t)x >= strlen(text); x++)
			mvaddch((int)y, x, ' ');
	}
	attrset(A_NORMAL);
}

/* The totals have the lines that a third of the screen, or all guests, leave. */
static unsigned int draw_totals(const struct run_samples *samples, unsigned int lines,
				unsigned int width)
{
	unsigned int table = samples->nr_guests < lines / 3 ? samples->nr_guests : lines / 3;
	unsigned int room = lines > table + 3 ? lines - table - 3 : 0, n = 0;
	char text[TOP_WIDTH];

	while (n < room && top_total(samples, n, width, text)) {
		draw(n, n ? A_NORMAL : A_BOLD, text, false);
		n++;
	}
	return n;
}

static void draw_table(struct top_view *top, const struct run_samples *samples, unsigned int y,
		       unsigned int lines, unsigned int width)
{
	unsigned int order[RUN_MAX_GUESTS];
	char text[TOP_WIDTH];

	if (lines < 2)
		return;
	top->page = lines - 1;
	scroll_by(top, 0, samples->nr_guests);
	top_order(samples, top->sort, order);
	top_header(top->sort, width, text);
	draw(y, A_REVERSE, text, true);
	for (unsigned int i = 0; i < top->page && top->first + i < samples->nr_guests; i++) {
		top_guest(samples, order[top->first + i], width, text);
		draw(y + 1 + i, A_NORMAL, text, false);
	}
}

static void draw_footer(const struct top_view *top, unsigned int guests, unsigned int y)
{
	char text[TOP_WIDTH];

	if (guests > top->page)
		snprintf(text, sizeof(text),
			 "q leave view  x end run  capital letter sort  arrows scroll "
			 "(%u-%u of %u)",
			 top->first + 1, top->first + top->page, guests);
	else
		snprintf(text, sizeof(text), "q leave view  x end run  capital letter sort");
	draw(y, A_REVERSE, text, true);
}

static void draw_screen(struct top_view *top, const struct run_samples *samples)
{
	unsigned int lines = (unsigned int)LINES, y;
	unsigned int width = COLS < TOP_WIDTH ? (unsigned int)COLS : TOP_WIDTH - 1;

	erase();
	y = draw_totals(samples, lines, width);
	draw_table(top, samples, y, lines - 1 - y, width);
	draw_footer(top, samples->nr_guests, lines - 1);
	refresh();
}

static bool show_top(struct run_view *view, const struct run_samples *samples)
{
	struct top_view *top = (struct top_view *)view;
	int key;

	if (top->screen)
		follow_size();
	while (top->screen && (key = getch()) != ERR)
		handle_key(top, key, samples->nr_guests);
	if (top->screen)
		draw_screen(top, samples);
	else if (top->status)
		top->status->show(top->status, samples);
	return !top->end;
}

/* The next refresh() takes the screen again. */
static void hide_top(struct run_view *view)
{
	struct top_view *top = (struct top_view *)view;

	if (top->screen)
		endwin();
	else if (top->status)
		top->status->hide(top->status);
}

static void destroy_top(struct run_view *view)
{
	struct top_view *top = (struct top_view *)view;

	leave_screen(top);
	if (top->status)
		top->status->destroy(top->status);
	free(top);
}

/* What the terminal is told to be as before; NULL if it needs nothing for it. */
static const char *sequence(const char *capability)
{
	const char *text = tigetstr(capability);

	return text == (const char *)-1 ? NULL : text;
}

static void set_modes(void)
{
	const char *const reset[] = { sequence("rmkx"), sequence("cnorm"), sequence("sgr0"),
				      sequence("rmcup") };

	cbreak();
	noecho();
	keypad(stdscr, TRUE);
	nodelay(stdscr, TRUE);
	/* A lone escape would hold the run's thread up. */
	set_escdelay(25);
	curs_set(0);
	run_terminal_reset_with(reset, sizeof(reset) / sizeof(reset[0]));
}

static struct run_view *open_screen(void)
{
	struct top_view *top = calloc(1, sizeof(*top));

	if (!top)
		return NULL;
	if (run_terminal_guard()) {
		free(top);
		return NULL;
	}
	/* initscr() would end the program where a terminal is not known. */
	top->screen = newterm(NULL, stdout, stdin);
	if (!top->screen) {
		run_terminal_unguard();
		free(top);
		return NULL;
	}
	set_modes();
	top->sort = TOP_GUEST;
	top->view = (struct run_view){ show_top, hide_top, destroy_top };
	return &top->view;
}

struct run_view *run_top_create(void)
{
	struct run_view *view = NULL;

	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		fprintf(stderr, "stage2 run: --top needs a terminal; the run goes on without\n");
	else if (!(view = open_screen()))
		fprintf(stderr, "stage2 run: --top does not know this terminal (TERM); "
				"the run goes on without\n");
	return view ? view : run_status_create();
}

#else

struct run_view *run_top_create(void)
{
	fprintf(stderr, "stage2 run: this build has no ncurses, and so no --top; "
			"the run goes on without\n");
	return run_status_create();
}

#endif
