/* Writes what a manifest wants into a synced folder, entry by entry. */
#ifndef RUNNER_AGENT_TREE_WRITE_H
#define RUNNER_AGENT_TREE_WRITE_H

#include "folder_store.h"
#include "manifest.h"
#include "walk.h"

struct tree_writer {
  struct folder_store store;
  struct walk walk;
  struct manifest earlier; /* what an earlier sync put there */
  bool known; /* that was the very manifest that is wanted now; then `earlier` is empty */
};

/* A file that is being written: in a folder of ours beside the tree, else beside the file that it will be. */
struct part {
  int file, folder; /* -1: none; where its name is */
  char name[32];
};

/* Each returns 0 or errno; parent and name are the walk's. */
int tree_make_folder(struct tree_writer *writer, int parent, const char *name,
                     const struct entry *e);
int tree_make_link(struct tree_writer *writer, int parent, const char *name, const struct entry *e);

int part_begin(const struct tree_writer *writer, struct part *part, int parent);
int part_write(struct part *part,
               struct slice bytes); /* zeros are left out: what is sparse stays so */
/* The whole file takes its place in one step; e gets its stamp. */
int part_place(struct tree_writer *writer, struct part *part, int parent, const char *name,
               struct entry *e);
void part_end(struct part *part, bool placed);

#endif
