/* Embeds runner: a C program can host the same thing that the command line does.
 *
 *   struct runner *host = runner_open();
 *   int status = runner_main(host, argc, argv);   // argv as on the command line, argv[0] included
 *   runner_close(host);
 *
 * A host owns one lua_State and one libuv loop and belongs to the thread that opened it. */
#ifndef RUNNER_H
#define RUNNER_H

#include <lua.h>

struct runner;

/* A new host, or NULL without memory. Ignores SIGPIPE for the whole process. */
struct runner *runner_open(void);

/* Its Lua state, with every module of runner within reach of `require`. */
lua_State *runner_state(struct runner *host);

/* Runs one command line to its end; returns the exit status (README, "Exit codes"). */
int runner_main(struct runner *host, int argc, char **argv);

/* Closes what is left open, the state and the loop. */
void runner_close(struct runner *host);

#endif
