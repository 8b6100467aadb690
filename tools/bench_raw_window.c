/* SPDX-License-Identifier: MIT */
/* See bench_raw_window.h. */
#include "bench_raw_window.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE ((size_t)4096)

/* A handler of signals has no argument of its own. */
static __thread const struct raw_window *used;

static struct sigaction segv_before, bus_before;

int raw_window_map(const struct raw_window *window, size_t page)
{
	int flags = MAP_SHARED | MAP_FIXED | (window->populate ? MAP_POPULATE : 0);
	off_t frame = (off_t)((window->neighbours ? page : window->pages - page) * PAGE);

	if (mmap(window->base + page * PAGE, PAGE, PROT_READ | PROT_WRITE, flags, window->memory,
		 frame) == MAP_FAILED)
		return -errno;
	return 0;
}

static int resolve(const struct raw_window *window, size_t page)
{
	if (!window->reprotects)
		return raw_window_map(window, page);
	return mprotect(window->base + page * PAGE, PAGE, PROT_READ | PROT_WRITE) ? -errno : 0;
}

static bool has_userfaultfd(const struct raw_window *window)
{
	return window->teller == RAW_TOLD_BY_USERFAULTFD || window->teller == RAW_TOLD_BY_SIGBUS;
}

/* A mapping that is new is not registered, even where one was. */
static int watch(const struct raw_window *window, size_t page, size_t nr)
{
	struct uffdio_register what = {
		.range = { (uintptr_t)window->base + page * PAGE, nr * PAGE },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	if (!has_userfaultfd(window))
		return 0;
	return ioctl(window->uffd, UFFDIO_REGISTER, &what) ? -errno : 0;
}

static int reserve(const struct raw_window *window, size_t page, size_t nr)
{
	int prot = has_userfaultfd(window) ? PROT_READ | PROT_WRITE : PROT_NONE;

	if (mmap(window->base + page * PAGE, nr * PAGE, prot,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		return -errno;
	return watch(window, page, nr);
}

int raw_window_zap(const struct raw_window *window, size_t page, size_t nr, enum raw_zap how)
{
	char *addr = window->base + page * PAGE;

	switch (how) {
	case RAW_ZAP_MPROTECT:
		return mprotect(addr, nr * PAGE, PROT_NONE) ? -errno : 0;
	case RAW_ZAP_MUNMAP:
		return munmap(addr, nr * PAGE) ? -errno : 0;
	default:
		return reserve(window, page, nr);
	}
}

/* Ends with the page behind the last, which raw_window_destroy() touches. */
static void *serve(void *arg)
{
	const struct raw_window *window = arg;
	struct uffdio_range woken = { .len = PAGE };
	struct uffd_msg msg;
	size_t page = 0;

	while (page != window->pages && read(window->uffd, &msg, sizeof(msg)) == sizeof(msg)) {
		page = (msg.arg.pagefault.address - (uintptr_t)window->base) / PAGE;
		resolve(window, page);
		woken.start = (uintptr_t)window->base + page * PAGE;
		ioctl(window->uffd, UFFDIO_WAKE, &woken);
	}
	return NULL;
}

static int open_userfaultfd(struct raw_window *window)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = window->teller == RAW_TOLD_BY_SIGBUS ? UFFD_FEATURE_SIGBUS : 0,
	};

	window->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	if (window->uffd < 0 || ioctl(window->uffd, UFFDIO_API, &api))
		return -errno;
	return 0;
}

int raw_window_create(struct raw_window *window)
{
	size_t size = (window->pages + 1) * PAGE;
	int error = 0;

	window->uffd = -1;
	window->served = false;
	window->memory = memfd_create("bench", MFD_CLOEXEC);
	window->base = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			    -1, 0);
	if (window->memory < 0 || window->base == MAP_FAILED ||
	    fallocate(window->memory, 0, 0, (off_t)size))
		return -errno;
	if (has_userfaultfd(window))
		error = open_userfaultfd(window);
	if (!error)
		error = reserve(window, 0, window->pages + 1);
	if (!error && window->teller == RAW_TOLD_BY_USERFAULTFD) {
		error = -pthread_create(&window->server, NULL, serve, window);
		window->served = !error;
	}
	return error;
}

void raw_window_destroy(struct raw_window *window)
{
	if (window->served) {
		(void)*raw_window_page(window, window->pages);
		pthread_join(window->server, NULL);
	}
	if (window->uffd >= 0)
		close(window->uffd);
	if (window->base != MAP_FAILED)
		munmap(window->base, (window->pages + 1) * PAGE);
	if (window->memory >= 0)
		close(window->memory);
}

void raw_window_use(const struct raw_window *window)
{
	used = window;
}

/* A signal that is about no window is one more when the handler is gone. */
static void on_fault(int sig, siginfo_t *info, void *context)
{
	size_t page = used ? ((uintptr_t)info->si_addr - (uintptr_t)used->base) / PAGE : 0;

	(void)context;
	if (!used || page >= used->pages || resolve(used, page))
		signal(sig, SIG_DFL);
}

int raw_window_begin_signals(void)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };

	if (sigaction(SIGSEGV, &action, &segv_before) || sigaction(SIGBUS, &action, &bus_before))
		return -errno;
	return 0;
}

void raw_window_end_signals(void)
{
	sigaction(SIGSEGV, &segv_before, NULL);
	sigaction(SIGBUS, &bus_before, NULL);
}
