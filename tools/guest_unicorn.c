/* SPDX-License-Identifier: MIT */
/* See guest_unicorn.h. */
#include "guest_unicorn.h"

#include <dlfcn.h>

#define VERSION                                                                                    \
	((unsigned int)UC_API_MAJOR << 24 | UC_API_MINOR << 16 | UC_API_PATCH << 8 | UC_API_EXTRA)

bool guest_unicorn_is_known(void)
{
	return GUEST_UNICORN_KNOWN && uc_version(NULL, NULL) == VERSION;
}

void *guest_unicorn_function(const char *name)
{
	return dlsym(RTLD_NEXT, name);
}
