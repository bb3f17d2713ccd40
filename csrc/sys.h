/* sys.h - system calls that return a value or -errno, and take no locks. linux/sys.h and bsd/sys.h implement them. The
 * end of linux/sys.h lists the functions that both have. */
#ifndef TG_SYS_H
#define TG_SYS_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* For code that runs in shared memory of another process, or without libc: disables instrumentation that would call
 * runtime functions. */
#if defined(__clang__)
#define TG_RAW __attribute__((no_sanitize("address", "undefined"), no_stack_protector))
#else
#define TG_RAW __attribute__((no_sanitize("address"), no_sanitize("undefined")))
#endif

#if defined(__linux__) && !defined(TG_BY_LIBC)
#include "linux/sys.h"
#else
#include "bsd/sys.h"
#endif

#endif
