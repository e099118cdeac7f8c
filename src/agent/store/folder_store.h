/*
 * The agent's place on its host: what it keeps there from run to run, in a folder that belongs to
 * its user alone. PLACE/trees/KEY/N holds, for each synced folder, `lock`, `manifest` and, when the
 * folder is one of ours, `tree`, the folder itself. What nobody uses any more expires (expire.h).
 */
#ifndef RUNNER_AGENT_PLACE_H
#define RUNNER_AGENT_PLACE_H

#include <limits.h>
#include <stdbool.h>

struct place {
  int home, root;      /* PLACE/trees/KEY/N, and the synced folder; owned */
  int lock;            /* held for a folder of ours until the agent ends; else owned */
  bool own;            /* the folder is ours */
  char path[PATH_MAX]; /* of the folder */
};

/* Takes a folder of ours that nobody uses, the first that is free; or, if folder is not "", that
 * one. Returns 0 or errno (EBUSY: somebody is syncing into it); then path names the culprit. */
int place_open(struct place *place, const char *key, const char *folder);
void place_close(struct place *place);

/* PLACE/trees, made when missing: a descriptor and its path, or -1. */
int place_trees(char path[static PATH_MAX]);
bool place_used(void); /* has a folder of ours been taken? */

/* Other folders of ours under the same key: opens the next one's place read only, -1 at the end. */
int place_sibling(const struct place *place, int *number, int *tree);

#endif
