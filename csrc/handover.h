/* handover.h - puts what a guard is given into an argument of its command line, and reads it there.
 *
 * An argument cannot change after the exec, and needs no system call to be read. The root does not run yet, so nothing
 * that a tree does can reach the guard's input.
 *
 * Two hexadecimal digits stand for a byte, so that the struct is one string without NULs, and shows no control
 * characters in a list of processes. As raw bytes it would be one string for each of its NULs: 36 strings make an exec
 * 3.5 us slower, 300 make it 30 us slower, and 900 bytes in one string cost nothing that can be measured. A message on
 * the lifeline would be two more system calls in each life, could fail on both sides, and the guard would still need the
 * number of the lifeline. */
#ifndef TG_HANDOVER_H
#define TG_HANDOVER_H

#include "wire.h"

/* Returns the size of the text with its NUL. `attributes`, here and below: NULL if there are none. Then they take no
 * room. */
size_t tg_handover_room(const struct tg_attributes *attributes);

void tg_handover_write(char *ret_text, const struct tg_handover *handover, const struct tg_attributes *attributes);

/* Returns whether the text stands for structs of these sizes. A guard of another version gets other sizes. Without
 * attributes `given` becomes 0. */
int tg_handover_read(const char *text, struct tg_handover *ret_handover, struct tg_attributes *ret_attributes);

#endif
