/* SPDX-License-Identifier: MIT */
/* What ThreadSanitizer needs to know of liburcu; empty in other builds. */
#include "base/rcu.h"

#ifdef S2_TSAN
char s2_rcu_grace;
#else
typedef int s2_rcu_needs_nothing; /* ISO C forbids an empty file */
#endif
