/* sys.h - system calls: each returns a value or -errno, and touches no lock. One file a kind of system behind it; what
 * both have to offer stands at the end of sys_linux.h. */
#ifndef TG_SYS_H
#define TG_SYS_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* Code that runs in a borrowed address space, or without libc: no instrumentation may call out of it. */
#if defined(__clang__)
#define TG_RAW __attribute__((no_sanitize("address", "undefined"), no_stack_protector))
#else
#define TG_RAW __attribute__((no_sanitize("address"), no_sanitize("undefined")))
#endif

#if defined(__linux__) && !defined(TG_BY_LIBC)
#include "sys_linux.h"
#else
#include "sys_libc.h"
#endif

#endif
