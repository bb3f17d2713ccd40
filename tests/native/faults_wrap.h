/* faults_wrap.h - makes functions of libc fail: the linker puts __wrap_NAME in the place of NAME (--wrap). */
#ifndef FAULTS_WRAP_H
#define FAULTS_WRAP_H

#include "faults.h"

#include <errno.h>

static inline int fails_at(long number, const void *address)
{
    long fault = faults_at(number, address);
    if (fault)
        errno = (int)-fault;
    return fault != 0;
}

#define fails(number) fails_at(number, __builtin_return_address(0))

#define WRAP(type, name, number, failure, parameters, arguments) \
    type __real_##name parameters; \
    type __wrap_##name parameters; \
    type __wrap_##name parameters \
    { \
        return fails(number) ? (failure) : __real_##name arguments; \
    }

#endif
