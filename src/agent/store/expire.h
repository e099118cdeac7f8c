/* Removes synced folders that have not been used for long: their hosts would fill up. */
#ifndef RUNNER_AGENT_EXPIRE_H
#define RUNNER_AGENT_EXPIRE_H

#include <stdint.h>

/* At the agent's end, when it has used one itself. Takes a bounded time. */
void expire_idle(void);
/* Before so much is written: where the disk would be full afterwards, those of yesterday go, too. */
void expire_for_room(int folder, uint64_t bytes);
/* `agent --expire [--all] [--dry-run]`: for people. Prints what is removed, or would be. */
int expire_main(int argc, char **argv);

#endif
