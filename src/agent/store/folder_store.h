/*
 * Keeps folders on the agent's host from run to run, below a base folder that belongs to
 * its user alone. BASE/trees/KEY/N holds, for each synced folder, `lock`, `manifest` and, when the
 * folder is one of ours, `tree`, the folder itself. What nobody uses any more expires (expire.h).
 */
#ifndef RUNNER_AGENT_FOLDER_STORE_H
#define RUNNER_AGENT_FOLDER_STORE_H

#include <limits.h>
#include <stdbool.h>

struct folder_store {
  int home, root;      /* BASE/trees/KEY/N, and the synced folder; owned */
  int lock;            /* held for a folder of ours until the agent ends; else owned */
  bool own;            /* the folder is ours */
  char path[PATH_MAX]; /* of the folder */
};

/* Takes a folder of ours that nobody uses, the first that is free; or, if folder is not "", that
 * one. Returns 0 or errno (EBUSY: somebody is syncing into it); then path names the culprit. */
int store_open(struct folder_store *store, const char *key, const char *folder);
void store_close(struct folder_store *store);

/* BASE/trees, made when missing: a descriptor and its path, or -1. */
int store_trees(char path[static PATH_MAX]);
bool store_is_used(void); /* has a folder of ours been taken? */

/* Other folders of ours under the same key: opens the next one read only, -1 at the end. */
int store_sibling(const struct folder_store *store, int *number, int *tree);

#endif
