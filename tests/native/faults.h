/* faults.h - system calls that fail: a layer that builds for tests put between csrc/ and the kernel.
 *
 * A plan says which call fails, counted in one of four places: the library, its child half, the guard, and its child
 * half. It lies in a page of a file that all of them share; the guard finds that file by a variable of its environment.
 * Only calls that can fail are counted, each with the errors that it is known to give. */
#ifndef FAULTS_H
#define FAULTS_H

#include <stdint.h>

#define FAULTS_VARIABLE "TREEGUARD_TEST_FAULTS"

/* In the place of a system call's number: memory from libc. */
#define FAULTS_MEMORY (-2)

enum faults_place { FAULTS_LIBRARY, FAULTS_LIBRARY_CHILD, FAULTS_GUARD, FAULTS_GUARD_CHILD, FAULTS_PLACES };

struct faults {
    int32_t armed;
    int32_t place;
    int32_t method;         /* that the guard begins with (enum tg_method) */
    int32_t at;             /* the call that fails: 1 is the first */
    int32_t which;          /* of its errors: 0 is the first */
    int32_t calls[FAULTS_PLACES];
    int32_t number;         /* of the system call that was to fail; -1: it was not reached */
    int32_t err;            /* that it failed with; 0: it has not so many errors */
};

extern struct faults *faults;   /* NULL: nothing ever fails */

/* Uses the page of a file, in the process whose places begin with `place`. 0, or -1. */
int faults_use(const char *path, enum faults_place place);

/* How many pieces of memory the library holds. */
extern int faults_allocations;

/* 0, or the -errno that this call is to fail with. */
long faults_now(long number);

/* What csrc/ sees in the place of tg_sys6. */
long faults_sys6(long n, long a, long b, long c, long d, long e, long f);

#define tg_sys6 faults_sys6
#define TG_FAULT(n) faults_now(n)

#endif
