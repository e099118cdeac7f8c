/* Takes contents from other synced folders of the same host. */
#ifndef RUNNER_AGENT_REUSE_H
#define RUNNER_AGENT_REUSE_H

#include "folder_store.h"
#include "manifest.h"

struct reuse;
/* Makes *reuse from the other folders of the same key when it is NULL. */
bool reuse_has(struct reuse **reuse, const struct folder_store *store, const struct entry *e);
/* Fills the empty file; false: it cannot, and the file may hold part of it. */
bool reuse_copy(struct reuse *reuse, const struct entry *e, int file);
void reuse_free(struct reuse *reuse);

#endif
