/* lives.h - lives of which one call fails: each call once, with each of its errors (faults.h). */
#ifndef LIVES_H
#define LIVES_H

#include "check.h"
#include "faults.h"

/* Call number `at` of a place will fail with its error number `which`. */
static inline void plan(enum faults_place place, int lacks, int at, int which)
{
    faults_clear();
    faults->place = place;
    faults->lacks = lacks;
    faults->at = at;
    faults->which = which;
}

/* Lives on until no call is left to fail, or a check has failed. Returns the number of lives. */
static inline int every_fault(void (*live)(int lacks, int at, int which), int lacks)
{
    for (int at = 1, lives = 0;; at++) {
        for (int which = 0;; which++, lives++) {
            live(lacks, at, which);
            CHECK_EQUAL(faults->unknown, 0);
            if (check_failures)
                fprintf(stderr, "when call %d, number %d, failed with: %s\n", at, faults->number, strerror(faults->err));
            if (faults->number == -1 || check_failures)
                return lives;
            if (!faults->err)
                break;
        }
    }
}

#endif
