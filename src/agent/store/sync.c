/*
 * Brings a synced folder into the state that a manifest describes, with as few contents over the
 * wire as possible. In steps of one entry, so that a big tree does not keep the agent from its other
 * duties:
 *
 *   LISTING    the manifest comes, unless it is the one that is known from the last time
 *   DELETING   what an earlier manifest had and this one has not goes
 *   CHECKING   folders, links, empty files and files known from elsewhere are made; others asked for
 *   RECEIVING  the rest comes in order of the asking, each file hashed, and renamed when it is whole
 *
 * No step follows a link: every path is walked from the folder's descriptor, part by part. If the
 * host goes away in the middle, whole files stay, and the manifest on disk records them.
 */
#define _GNU_SOURCE 1
#include "sync.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/wire/output.h"
#include "expire.h"
#include "reuse.h"
#include "tree_write.h"

enum {
  MANIFEST_MAX = 64 << 20,
  NEED_BATCH = 1024,
  CREDIT_BATCH = SYNC_WINDOW / 4,
  STEP_US = 5000, /* at most so long, then the loop turns */
};

enum phase { LISTING, DELETING, CHECKING, RECEIVING, OVER };

struct sync {
  struct sync *next;
  uint32_t id;
  enum phase phase;
  struct tree_writer writer;
  struct buffer listing;
  struct manifest wanted;
  bool changed; /* what is kept on disk no longer tells the truth */
  bool saved;   /* … and says so, should we not come to the end */
  size_t at;    /* next entry of the phase */
  uint32_t *needs;
  size_t need_count, need_room, told, received;
  struct reuse *reuse; /* contents in other folders; NULL until something is needed */
  struct part part;    /* of entry needs[received] */
  uint64_t left;
  struct sha256 hash;
  uint32_t credit_owed;
};

static struct sync *all;

/* What is there now is written down, but as no manifest that anybody sent: the next sync looks. */
static int save_unfinished(struct sync *s) {
  if (s->saved) return 0;
  s->saved = true;
  return manifest_save(s->writer.store.home, &s->wanted, &s->writer.earlier);
}

static void end(struct sync *s) {
  part_end(&s->part, false);
  if (s->phase > LISTING && s->phase < OVER && s->changed) {
    s->saved = false;
    save_unfinished(s);
  }
  s->phase = OVER;
  walk_end(&s->writer.walk);
  reuse_free(s->reuse);
  store_close(&s->writer.store);
  buffer_free(&s->listing);
  manifest_free(&s->wanted);
  manifest_free(&s->writer.earlier);
  free(s->needs);
  for (struct sync **link = &all; *link; link = &(*link)->next) {
    if (*link != s) continue;
    *link = s->next;
    break;
  }
  free(s);
}

static void fail(struct sync *s, int error, const char *path) {
  output_done(s->id, error, path, strlen(path));
  end(s);
}

/* Names the whole path: where it is decides how it can be mended. */
static void fail_at(struct sync *s, int error, const struct entry *e) {
  char path[2 * PATH_MAX];
  snprintf(path, sizeof path, "%s/%s", s->writer.store.path, e->path);
  fail(s, error, path);
}

static struct sync *find(uint32_t id) {
  struct sync *s = all;
  while (s && s->id != id) s = s->next;
  return s;
}

/* NEED_LISTING, NEED_END, or the needs that the host has not been told of. */
static void tell(struct sync *s, uint8_t what) {
  size_t frame = frame_begin(&output.buffer, AGENT_NEED, s->id);
  put_u8(&output.buffer, what);
  for (; what == NEED_FILES && s->told < s->need_count; s->told++)
    put_u32(&output.buffer, s->needs[s->told]);
  frame_end(&output.buffer, frame);
}

static bool is_wanted(const struct sync *s, const struct entry *e) {
  return manifest_find(&s->wanted, e->path) != NULL;
}

static void begin_work(struct sync *s) {
  uint64_t new_bytes = 0;
  s->phase = DELETING;
  s->at = s->writer.earlier.count;
  for (size_t i = 0; i < s->wanted.count && !s->writer.known; i++) {
    const struct entry *old = manifest_find(&s->writer.earlier, s->wanted.entries[i].path);
    struct entry *e = &s->wanted.entries[i];
    if (old && old->kind == ENTRY_FILE && old->kind == e->kind && old->size == e->size &&
        memcmp(old->hash, e->hash, sizeof e->hash) == 0)
      e->stamp = old->stamp;
    if (e->stamp.inode == 0) new_bytes += e->size; /* never came, as far as is known */
  }
  if (s->writer.store.own && new_bytes > 0) expire_for_room(s->writer.store.root, new_bytes);
}

void sync_begin(uint32_t id, const struct sync_frame *frame) {
  struct sync *s = must(calloc(1, sizeof *s));
  char key[SYNC_KEY_MAX + 1], folder[PATH_MAX];
  s->id = id;
  s->part = (struct part){.file = -1, .folder = -1};
  s->next = all;
  all = s;
  walk_begin(&s->writer.walk, -1);
  s->writer.store = (struct folder_store){.home = -1, .root = -1, .lock = -1};
  if (frame->folder.size >= sizeof folder) {
    fail(s, ENAMETOOLONG, "the folder");
    return;
  }
  memcpy(key, frame->key.bytes, frame->key.size);
  key[frame->key.size] = 0;
  memcpy(folder, frame->folder.bytes, frame->folder.size);
  folder[frame->folder.size] = 0;
  int error = store_open(&s->writer.store, key, folder);
  if (error) {
    char path[PATH_MAX];
    memcpy(path, s->writer.store.path, sizeof path);
    fail(s, error, path);
    return;
  }
  walk_begin(&s->writer.walk, s->writer.store.root);
  snprintf(s->part.name, sizeof s->part.name, ".runner-%.20s", key);
  manifest_load(s->writer.store.home, &s->writer.earlier);
  if (s->writer.earlier.count > 0 &&
      memcmp(s->writer.earlier.digest, frame->digest, SHA256_SIZE) == 0) {
    s->writer.known = true;
    s->wanted = s->writer.earlier;
    memset(&s->writer.earlier, 0, sizeof s->writer.earlier);
    begin_work(s);
  } else {
    s->changed = true;
    tell(s, NEED_LISTING);
  }
}

const char *sync_entries(uint32_t id, struct slice bytes) {
  struct sync *s = find(id);
  if (!s) return NULL;
  if (s->phase != LISTING) return "ENTRIES that were not asked for";
  if (bytes.size > 0) {
    if (buffer_length(&s->listing) + bytes.size > MANIFEST_MAX)
      fail(s, EFBIG, "the list of files");
    else
      buffer_append(&s->listing, bytes.bytes, bytes.size);
    return NULL;
  }
  const char *wrong = manifest_parse(s->listing.data, buffer_length(&s->listing), &s->wanted);
  if (wrong) return wrong;
  buffer_free(&s->listing);
  begin_work(s);
  int error = save_unfinished(s);
  if (error) fail(s, error, s->writer.store.path);
  return NULL;
}

/* Entries of the earlier manifest, children before their folders. */
static void step_delete(struct sync *s) {
  if (s->at == 0) {
    s->phase = CHECKING;
    s->at = 0;
    return;
  }
  const struct entry *e = &s->writer.earlier.entries[--s->at];
  if (is_wanted(s, e)) return;
  const char *name;
  int parent = walk_parent(&s->writer.walk, e->path, &name);
  if (parent < 0) return; /* gone, or no longer a folder: nothing that we put there */
  if (e->kind != ENTRY_FOLDER) {
    unlinkat(parent, name, 0);
  } else {
    unlinkat(parent, name, AT_REMOVEDIR); /* stays when tests have put something in */
    walk_forget(&s->writer.walk);
  }
}

/* An empty file, or one whose contents another folder has. False: it has to be asked for. */
static bool make_file(struct sync *s, int parent, const char *name, struct entry *e, int *error) {
  struct part part = {.file = -1, .folder = -1, .name = ".runner-made"};
  if (e->size > 0 && !reuse_has(&s->reuse, &s->writer.store, e)) return false;
  *error = part_begin(&s->writer, &part, parent);
  bool made = !*error && (e->size == 0 || reuse_copy(s->reuse, e, part.file));
  if (made) *error = part_place(&s->writer, &part, parent, name, e);
  part_end(&part, false);
  return made || *error;
}

static void need(struct sync *s, size_t index) {
  if (s->need_count == s->need_room) {
    s->need_room = s->need_room ? 2 * s->need_room : 256;
    s->needs = must(realloc(s->needs, s->need_room * sizeof *s->needs));
  }
  s->needs[s->need_count++] = (uint32_t)index;
  if (s->need_count - s->told >= NEED_BATCH) tell(s, NEED_FILES);
}

static int check_file(struct sync *s, int parent, const char *name, struct entry *e, size_t index) {
  struct stat st;
  if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
      (uint64_t)st.st_size == e->size && stamp_same(&e->stamp, &st)) {
    if ((st.st_mode & 07777) == e->mode) return 0;
    if (fchmodat(parent, name, e->mode, 0) < 0) return errno;
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0) return errno;
    e->stamp = stamp_of(&st);
    s->changed = true;
    return 0;
  }
  memset(&e->stamp, 0, sizeof e->stamp);
  s->changed = true;
  int error = 0;
  if (!make_file(s, parent, name, e, &error)) need(s, index);
  return error;
}

static void finish(struct sync *s) {
  char path[PATH_MAX];
  int error = s->changed ? manifest_save(s->writer.store.home, &s->wanted, NULL) : 0;
  memcpy(path, s->writer.store.path, sizeof path);
  s->phase = OVER;
  output_done(s->id, error, path, strlen(path));
  end(s);
}

static void step_check(struct sync *s) {
  if (s->at == s->wanted.count) {
    if (s->told < s->need_count) tell(s, NEED_FILES);
    tell(s, NEED_END);
    s->phase = RECEIVING;
    if (s->received == s->need_count) finish(s);
    return;
  }
  size_t index = s->at++;
  struct entry *e = &s->wanted.entries[index];
  const char *name;
  int parent = walk_parent(&s->writer.walk, e->path, &name), error = 0;
  if (parent < 0)
    error = errno;
  else if (e->kind == ENTRY_FOLDER)
    error = tree_make_folder(&s->writer, parent, name, e);
  else if (e->kind == ENTRY_LINK)
    error = tree_make_link(&s->writer, parent, name, e);
  else
    error = check_file(s, parent, name, e, index);
  if (error) fail_at(s, error, e);
}

static void give_credit(struct sync *s, size_t size) {
  s->credit_owed += (uint32_t)size;
  if (s->credit_owed < CREDIT_BATCH) return;
  size_t frame = frame_begin(&output.buffer, AGENT_TAKEN, s->id);
  put_u32(&output.buffer, s->credit_owed);
  frame_end(&output.buffer, frame);
  s->credit_owed = 0;
}

const char *sync_chunk(uint32_t id, uint32_t index, struct slice bytes) {
  struct sync *s = find(id);
  if (!s) return NULL;
  if (s->phase < CHECKING || s->received >= s->told || s->needs[s->received] != index ||
      bytes.size == 0)
    return "a CHUNK that was not asked for";
  struct entry *e = &s->wanted.entries[index];
  uint8_t digest[SHA256_SIZE];
  const char *name;
  int parent = walk_parent(&s->writer.walk, e->path, &name), error = 0;
  if (parent < 0) error = errno;
  if (!error && s->part.file < 0) {
    error = part_begin(&s->writer, &s->part, parent);
    s->left = e->size;
    sha256_begin(&s->hash);
  }
  if (bytes.size > s->left && !error) return "a CHUNK beyond the end of its file";
  if (!error) error = part_write(&s->part, bytes);
  if (error) {
    fail_at(s, error, e);
    return NULL;
  }
  sha256_add(&s->hash, bytes.bytes, bytes.size);
  s->left -= bytes.size;
  give_credit(s, bytes.size);
  if (s->left > 0) return NULL;
  sha256_end(&s->hash, digest);
  if (memcmp(digest, e->hash, sizeof digest) != 0)
    error = EILSEQ;
  else if (ftruncate(s->part.file, (off_t)e->size) < 0)
    error = errno;
  else
    error = part_place(&s->writer, &s->part, parent, name, e);
  if (!error) s->changed = true;
  if (error) {
    fail_at(s, error, e);
  } else if (++s->received == s->need_count && s->phase == RECEIVING) {
    finish(s);
  }
  return NULL;
}

bool sync_stop(uint32_t id) {
  struct sync *s = find(id);
  if (s) fail(s, ECANCELED, s->writer.store.path);
  return s != NULL;
}

static void step(struct sync *s) {
  if (s->phase == DELETING)
    step_delete(s);
  else
    step_check(s);
}

bool sync_turn(void) {
  int64_t until = monotonic_us() + STEP_US;
  struct sync *s = all;
  while (s) {
    uint32_t id = s->id;
    if (s->phase != DELETING && s->phase != CHECKING) {
      s = s->next;
      continue;
    }
    if (output.over || buffer_length(&output.buffer) >= OUTPUT_HIGH || monotonic_us() >= until)
      return true;
    for (int i = 0; i < 16 && s && (s->phase == DELETING || s->phase == CHECKING); i++) {
      step(s);
      s = find(id); /* it may have come to its end */
    }
    if (!s) s = all;
  }
  return false;
}

void sync_end_all(void) {
  while (all) end(all);
}
