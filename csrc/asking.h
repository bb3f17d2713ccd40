/* asking.h - lets a stopped process hear a request to end. Each platform has its own implementation. */
#ifndef TG_ASKING_H
#define TG_ASKING_H

/* Sends SIGCONT to the processes of a group that are stopped, or have been sent a signal that stops them: they handle
 * no other signal before. A running process gets nothing, since it may handle SIGCONT. `ancestor`: leave out processes
 * that do not descend from it, because the group's leader was reaped and another group may have the id; else 0. */
void tg_let_hear(int group, int ancestor);

#endif
