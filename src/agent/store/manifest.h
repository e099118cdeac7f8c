/*
 * Describes the files, links and folders that a synced folder shall hold, sorted by path: as it
 * comes over the wire (protocol.h, ENTRIES), and as it is kept beside the folder between runs, with
 * a stamp of each file as the agent left it.
 */
#ifndef RUNNER_AGENT_MANIFEST_H
#define RUNNER_AGENT_MANIFEST_H

#include <sys/stat.h>

#include "agent/wire/frame.h"
#include "common/sha256.h"

/* A file whose stamp has not changed has not changed. Zeroes: not as we know it. */
struct stamp {
  uint64_t mtime_ns, ctime_ns, inode;
};

struct entry {
  uint8_t kind; /* ENTRY_… */
  uint32_t mode;
  uint64_t size;
  uint8_t hash[SHA256_SIZE];
  const char *path, *target; /* in the manifest's text; target: of a link, else "" */
  struct stamp stamp;
};

struct manifest {
  uint8_t digest[SHA256_SIZE]; /* of its bytes on the wire; zeroes: of none that was ever sent */
  struct entry *entries;
  size_t count;
  char *text; /* owns the strings */
};

/* NULL, or what is wrong with it. Every parent must be there, as a folder: nothing below a link. */
const char *manifest_parse(const uint8_t *bytes, size_t size, struct manifest *m);
struct entry *manifest_find(const struct manifest *m, const char *path);
void manifest_free(struct manifest *m);

struct stamp stamp_of(const struct stat *st);
bool stamp_same(const struct stamp *stamp, const struct stat *st); /* and known */

/* What was saved in that folder; empty if nothing, or nothing that makes sense. */
void manifest_load(int folder, struct manifest *m);
/* 0 or errno. Also writes what `also` (may be NULL) has and m has not. */
int manifest_save(int folder, const struct manifest *m, const struct manifest *also);

/* For manifest_load, and for the fuzzer. */
bool manifest_decode(const uint8_t *bytes, size_t size, struct manifest *m);

#endif
