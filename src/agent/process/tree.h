/* Finds and kills the processes of commands. */
#ifndef RUNNER_AGENT_TREE_H
#define RUNNER_AGENT_TREE_H

#include "registry.h"

struct process {
  pid_t pid, parent, group, session;
  unsigned long long start; /* with pid, it names a process for good */
  bool dead, dying, ours, resolved;
  struct command *owner; /* NULL: nobody's, or not ours */
};
void tree_begin(void);
bool tree_orphans(void); /* may the agent have children other than commands? */
size_t tree_of(const struct command *c, struct process **list); /* alive, without the root */
void tree_signal(struct command *c, int number);
void tree_leaks(struct command *c, const struct process *list, size_t count);
void tree_kill_unowned(void);
void tree_kill_all(void); /* returns when nothing is left, or nothing more can be done */

#endif
