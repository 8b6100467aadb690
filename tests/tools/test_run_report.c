/* SPDX-License-Identifier: MIT */
/*
 * The page of --report: well-formed whatever guests are called, without anything from elsewhere,
 * and there as a whole or not at all.
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

#include "../../tools/run_report.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char *page_of(const struct run_report *report)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	run_report_page(report, out);
	assert_int_equal(fclose(out), 0);
	assert_int_equal(strlen(text), size);
	return text;
}

#define MAX_DEPTH 32
#define MAX_NAME 16

/* Reads a tag from after its '<'; returns what follows its '>'. */
static const char *read_tag(const char *at, char *name, bool *closes, bool *empty)
{
	const char *end = strchr(at, '>');
	unsigned int len = 0;

	assert_non_null(end);
	*closes = *at == '/';
	at += *closes;
	while ((isalnum(at[len]) || at[len] == '!') && len < MAX_NAME - 1)
		len++;
	assert_in_range(len, 1, MAX_NAME - 2);
	memcpy(name, at, len);
	name[len] = '\0';
	*empty = end[-1] == '/' || !strcmp(name, "meta") || *name == '!';
	/* No quote is left open, and no tag begins in a tag. */
	for (unsigned int quotes = 0; at <= end; at++) {
		quotes += *at == '"';
		assert_true(*at != '<' && (at < end || quotes % 2 == 0));
	}
	return end + 1;
}

static void assert_well_formed(const char *page)
{
	char open[MAX_DEPTH][MAX_NAME], name[MAX_NAME];
	unsigned int depth = 0;
	bool closes, empty;

	for (const char *at = strchr(page, '<'); at; at = strchr(at, '<')) {
		at = read_tag(at + 1, name, &closes, &empty);
		if (empty)
			continue;
		if (closes) {
			assert_true(depth > 0);
			assert_string_equal(name, open[--depth]);
		} else {
			assert_true(depth < MAX_DEPTH);
			strcpy(open[depth++], name);
		}
	}
	assert_int_equal(depth, 0);
}

static void assert_nothing_from_elsewhere(const char *page)
{
	static const char *const not_there[] = {
		"<script", "<link", "<img",    "<iframe", "<object", "javascript:", "http:",
		"https:",  "url(",  "@import", "<a ",
	};

	for (unsigned int i = 0; i < sizeof(not_there) / sizeof(not_there[0]); i++)
		assert_null(strcasestr(page, not_there[i]));
}

static void test_hostile_names_are_text(void **state)
{
	struct made_up_run run;
	char *page;

	make_up_run(&run, 20);
	page = page_of(&run.report);
	assert_well_formed(page);
	assert_nothing_from_elsewhere(page);
	assert_non_null(strstr(page, "&lt;script src=&quot;x&quot;&gt;&#39;&amp;"));
	assert_null(strchr(page, '\033'));
	assert_null(strchr(page, '\xff'));
	free(page);
	forget_run(&run);
}

static void test_all_plots_are_there(void **state)
{
	struct made_up_run run;
	unsigned int plots = 0;
	char *page;

	make_up_run(&run, 20);
	page = page_of(&run.report);
	for (const char *at = page; (at = strstr(at, "<svg")); at++)
		plots++;
	/* Of cells, of latencies, of the run over time, and of each guest. */
	assert_int_equal(plots, RUN_NR_EVENTS + RUN_NR_EVENTS + 4 + MADE_UP_GUESTS);
	assert_null(strstr(page, "nan"));
	free(page);
	forget_run(&run);
}

static void test_a_run_without_samples_is_a_page(void **state)
{
	for (unsigned int points = 0; points < 3; points++) {
		struct made_up_run run;
		char *page;

		make_up_run(&run, points);
		page = page_of(&run.report);
		assert_well_formed(page);
		assert_null(strstr(page, "nan"));
		free(page);
		forget_run(&run);
	}
}

static void test_no_run_at_all_is_a_page(void **state)
{
	struct run_report report = { .command = "" };
	char *page = page_of(&report);

	assert_well_formed(page);
	free(page);
}

static void test_a_run_on_plain_memory_is_a_page(void **state)
{
	struct made_up_run run;
	char *page;

	make_up_run(&run, 5);
	run.result.plain = true;
	run.result.samples->latest.has_pool = false;
	for (unsigned int i = 0; i < run.result.samples->nr; i++)
		run.result.samples->sample[i].has_pool = false;
	run.report.nr_cells = 0;
	page = page_of(&run.report);
	assert_well_formed(page);
	assert_non_null(strstr(page, "plain memory"));
	free(page);
	forget_run(&run);
}

static void test_a_long_series_fits(void **state)
{
	struct made_up_run run;
	char *page;

	make_up_run(&run, 3 * RUN_MAX_SAMPLES);
	page = page_of(&run.report);
	assert_well_formed(page);
	free(page);
	forget_run(&run);
}

/* A directory of its own for each test, and the page's path in it. */
static char directory[64], path[96];

static int make_directory(void **state)
{
	const char *top = getenv("TMPDIR");

	snprintf(directory, sizeof(directory), "%.40s/reportXXXXXX", top ? top : "/tmp");
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/page.html", directory);
	return 0;
}

static int remove_directory(void **state)
{
	unlink(path);
	return rmdir(directory);
}

static unsigned int files_there(void)
{
	DIR *dir = opendir(directory);
	unsigned int n = 0;

	assert_non_null(dir);
	for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir))
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n;
}

static void test_the_page_replaces_the_last_one(void **state)
{
	struct made_up_run run;
	struct stat before, after;

	make_up_run(&run, 5);
	assert_int_equal(run_report_write(&run.report, path), 0);
	assert_int_equal(stat(path, &before), 0);
	assert_int_equal(run_report_write(&run.report, path), 0);
	assert_int_equal(stat(path, &after), 0);
	assert_int_not_equal(before.st_ino, after.st_ino);
	assert_int_equal(files_there(), 1);
	forget_run(&run);
}

static void test_a_page_that_cannot_be_written_leaves_the_last_one(void **state)
{
	struct made_up_run run;
	struct rlimit limit;
	struct stat stat_of_it;
	int error;

	make_up_run(&run, 5);
	assert_int_equal(close(creat(path, 0600)), 0);
	getrlimit(RLIMIT_FSIZE, &limit);
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &(struct rlimit){ 0, limit.rlim_max });
	error = run_report_write(&run.report, path);
	setrlimit(RLIMIT_FSIZE, &limit);
	signal(SIGXFSZ, SIG_DFL);
	assert_int_equal(error, -EFBIG);
	assert_int_equal(stat(path, &stat_of_it), 0);
	assert_int_equal(stat_of_it.st_size, 0);
	assert_int_equal(files_there(), 1);
	forget_run(&run);
}

static void test_only_a_file_is_written_to(void **state)
{
	char name[128];

	assert_int_equal(run_report_check(path), 0);
	assert_int_equal(run_report_check(directory), -EISDIR);
	assert_int_equal(run_report_check("/dev/null"), -EINVAL);
	assert_int_equal(run_report_check(""), -EINVAL);
	snprintf(name, sizeof(name), "%s/", directory);
	assert_int_equal(run_report_check(name), -EINVAL);
	snprintf(name, sizeof(name), "%s/nowhere/page.html", directory);
	assert_int_equal(run_report_check(name), -ENOENT);
	assert_int_equal(symlink("elsewhere", path), 0);
	assert_int_equal(run_report_check(path), -ELOOP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hostile_names_are_text),
		cmocka_unit_test(test_all_plots_are_there),
		cmocka_unit_test(test_a_run_without_samples_is_a_page),
		cmocka_unit_test(test_no_run_at_all_is_a_page),
		cmocka_unit_test(test_a_run_on_plain_memory_is_a_page),
		cmocka_unit_test(test_a_long_series_fits),
		cmocka_unit_test_setup_teardown(test_the_page_replaces_the_last_one,
						make_directory, remove_directory),
		cmocka_unit_test_setup_teardown(
			test_a_page_that_cannot_be_written_leaves_the_last_one, make_directory,
			remove_directory),
		cmocka_unit_test_setup_teardown(test_only_a_file_is_written_to, make_directory,
						remove_directory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
