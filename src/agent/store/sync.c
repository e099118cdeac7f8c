/*
 * A synced folder: brought into the state that a manifest describes, with as few contents over the
 * wire as possible. In steps of one entry, so that a big tree does not keep the agent from its other
 * duties:
 *
 *   LISTING    the manifest comes, unless it is the one that is known from the last time
 *   DELETING   what an earlier manifest had and this one has not goes
 *   CHECKING   folders, links, empty files and files known from elsewhere are made; others asked for
 *   RECEIVING  the rest comes in order of the asking, each file hashed, and renamed when it is whole
 *
 * No step follows a link: every path is walked from the folder's descriptor, part by part. If the
 * host goes away in the middle, whole files stay, and the manifest on disk owns up to them.
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

#include "agent/agent.h"
#include "expire.h"
#include "manifest.h"
#include "folder_store.h"
#include "reuse.h"

enum {
  MANIFEST_MAX = 64 << 20,
  NEED_BATCH = 1024,
  CREDIT_BATCH = SYNC_WINDOW / 4,
  STEP_US = 5000, /* at most so long, then the loop turns */
};

enum phase { LISTING, DELETING, CHECKING, RECEIVING, OVER };

/* A file that is being written. */
struct part {
  int file, folder; /* -1: none; where its name is */
  char name[32];
};

struct sync {
  struct sync *next;
  uint32_t id;
  enum phase phase;
  struct place place;
  bool known; /* the manifest is that of the last time */
  struct buffer listing;
  struct manifest wanted, earlier;
  bool changed; /* what is kept on disk no longer tells the truth */
  bool saved;   /* … and says so, should we not come to the end */
  size_t at;    /* next entry of the phase */
  uint32_t *needs;
  size_t need_count, need_room, told, received;
  struct reuse *reuse; /* contents in other folders; NULL until something is needed */
  struct walk walk;
  struct part part; /* of entry needs[received] */
  uint64_t left;
  struct sha256 hash;
  uint32_t owed;
};

static struct sync *all;

/* In a folder of ours, beside the tree; else beside the file that it will be. */
static int begin_part(const struct sync *s, struct part *part, int parent) {
  part->folder = fcntl(s->place.own ? s->place.home : parent, F_DUPFD_CLOEXEC, 5);
  if (part->folder < 0) return errno;
  part->file =
      openat(part->folder, part->name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (part->file >= 0) return 0;
  int error = errno;
  close(part->folder);
  part->folder = -1;
  return error;
}

static void end_part(struct part *part, bool placed) {
  if (part->file >= 0) close(part->file);
  if (part->folder >= 0 && !placed) unlinkat(part->folder, part->name, 0);
  if (part->folder >= 0) close(part->folder);
  part->file = part->folder = -1;
}

/* What is there now is written down, but as no manifest that anybody sent: the next sync looks. */
static int save_unfinished(struct sync *s) {
  if (s->saved) return 0;
  s->saved = true;
  return manifest_save(s->place.home, &s->wanted, &s->earlier);
}

static void end(struct sync *s) {
  end_part(&s->part, false);
  if (s->phase > LISTING && s->phase < OVER && s->changed) {
    s->saved = false;
    save_unfinished(s);
  }
  s->phase = OVER;
  walk_end(&s->walk);
  reuse_free(s->reuse);
  place_close(&s->place);
  buffer_free(&s->listing);
  manifest_free(&s->wanted);
  manifest_free(&s->earlier);
  free(s->needs);
  for (struct sync **link = &all; *link; link = &(*link)->next) {
    if (*link != s) continue;
    *link = s->next;
    break;
  }
  free(s);
}

static void fail(struct sync *s, int error, const char *path) {
  agent_done(s->id, error, path, strlen(path));
  end(s);
}

/* Names the whole path: where it is decides how it can be mended. */
static void fail_at(struct sync *s, int error, const struct entry *e) {
  char path[2 * PATH_MAX];
  snprintf(path, sizeof path, "%s/%s", s->place.path, e->path);
  fail(s, error, path);
}

static struct sync *find(uint32_t id) {
  struct sync *s = all;
  while (s && s->id != id) s = s->next;
  return s;
}

/* NEED_LISTING, NEED_END, or the needs that the host has not been told of. */
static void tell(struct sync *s, uint8_t what) {
  size_t frame = frame_begin(&agent.out, AGENT_NEED, s->id);
  put_u8(&agent.out, what);
  for (; what == NEED_FILES && s->told < s->need_count; s->told++)
    put_u32(&agent.out, s->needs[s->told]);
  frame_end(&agent.out, frame);
}

static bool is_wanted(const struct sync *s, const struct entry *e) {
  return manifest_find(&s->wanted, e->path) != NULL;
}

static void begin_work(struct sync *s) {
  uint64_t new_bytes = 0;
  s->phase = DELETING;
  s->at = s->earlier.count;
  for (size_t i = 0; i < s->wanted.count && !s->known; i++) {
    const struct entry *old = manifest_find(&s->earlier, s->wanted.entries[i].path);
    struct entry *e = &s->wanted.entries[i];
    if (old && old->kind == ENTRY_FILE && old->kind == e->kind && old->size == e->size &&
        memcmp(old->hash, e->hash, sizeof e->hash) == 0)
      e->stamp = old->stamp;
    if (e->stamp.inode == 0) new_bytes += e->size; /* never came, as far as is known */
  }
  if (s->place.own && new_bytes > 0) expire_for_room(s->place.root, new_bytes);
}

void sync_begin(uint32_t id, const struct sync_frame *frame) {
  struct sync *s = must(calloc(1, sizeof *s));
  char key[SYNC_KEY_MAX + 1], folder[PATH_MAX];
  s->id = id;
  s->part = (struct part){.file = -1, .folder = -1};
  s->next = all;
  all = s;
  walk_begin(&s->walk, -1);
  s->place = (struct place){.home = -1, .root = -1, .lock = -1};
  if (frame->folder.size >= sizeof folder) {
    fail(s, ENAMETOOLONG, "the folder");
    return;
  }
  memcpy(key, frame->key.bytes, frame->key.size);
  key[frame->key.size] = 0;
  memcpy(folder, frame->folder.bytes, frame->folder.size);
  folder[frame->folder.size] = 0;
  int error = place_open(&s->place, key, folder);
  if (error) {
    char path[PATH_MAX];
    memcpy(path, s->place.path, sizeof path);
    fail(s, error, path);
    return;
  }
  walk_begin(&s->walk, s->place.root);
  snprintf(s->part.name, sizeof s->part.name, ".runner-%.20s", key);
  manifest_load(s->place.home, &s->earlier);
  if (s->earlier.count > 0 && memcmp(s->earlier.digest, frame->digest, SHA256_SIZE) == 0) {
    s->known = true;
    s->wanted = s->earlier;
    memset(&s->earlier, 0, sizeof s->earlier);
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
  if (error) fail(s, error, s->place.path);
  return NULL;
}

/* Entries of the earlier manifest, children before their folders. */
static void step_delete(struct sync *s) {
  if (s->at == 0) {
    s->phase = CHECKING;
    s->at = 0;
    return;
  }
  const struct entry *e = &s->earlier.entries[--s->at];
  if (is_wanted(s, e)) return;
  const char *name;
  int parent = walk_parent(&s->walk, e->path, &name);
  if (parent < 0) return; /* gone, or no longer a folder: nothing that we put there */
  if (e->kind != ENTRY_FOLDER) {
    unlinkat(parent, name, 0);
  } else {
    unlinkat(parent, name, AT_REMOVEDIR); /* stays when tests have put something in */
    walk_forget(&s->walk);
  }
}

/* Makes way for an entry of another kind. In a folder of ours, whatever it is; else only what an
 * earlier manifest has put there. */
static int clear(struct sync *s, int parent, const char *name, const struct entry *e, bool folder) {
  if (!s->place.own && !s->known && !manifest_find(&s->earlier, e->path)) return EEXIST;
  walk_forget(&s->walk); /* the descriptor itself stays open, see walk_parent */
  if (!folder) return unlinkat(parent, name, 0) < 0 ? errno : 0;
  if (unlinkat(parent, name, AT_REMOVEDIR) == 0) return 0;
  if (!s->place.own) return errno;
  file_remove_tree(parent, name);
  return 0;
}

static int make_folder(struct sync *s, int parent, const char *name, const struct entry *e) {
  struct stat st;
  mode_t mode = e->mode | 0700; /* we have to get in again */
  if (mkdirat(parent, name, mode) < 0) {
    if (errno != EEXIST || fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0) return errno;
    if (!S_ISDIR(st.st_mode)) {
      int error = clear(s, parent, name, e, false);
      if (error) return error;
      if (mkdirat(parent, name, mode) < 0) return errno;
    } else if ((st.st_mode & 0777) == mode) {
      return 0;
    }
  }
  return fchmodat(parent, name, mode, 0) < 0 ? errno : 0;
}

static int make_link(struct sync *s, int parent, const char *name, const struct entry *e) {
  char now[PATH_MAX];
  struct stat st;
  ssize_t size = readlinkat(parent, name, now, sizeof now);
  if (size >= 0 && (size_t)size == strlen(e->target) && memcmp(now, e->target, (size_t)size) == 0)
    return 0;
  if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
    int error = clear(s, parent, name, e, S_ISDIR(st.st_mode));
    if (error) return error;
  }
  return symlinkat(e->target, parent, name) < 0 ? errno : 0;
}

/* The whole file takes its place in one step. */
static int place_part(struct sync *s, struct part *part, int parent, const char *name,
                      struct entry *e) {
  struct stat st, there;
  int error = 0;
  if (fchmod(part->file, e->mode) < 0) error = errno;
  if (!error && fstatat(parent, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(there.st_mode))
    error = clear(s, parent, name, e, true);
  if (!error && renameat(part->folder, part->name, parent, name) < 0) error = errno;
  if (error) return error;
  if (fstat(part->file, &st) < 0) return errno; /* after the rename: it touches the ctime */
  end_part(part, true);
  e->stamp = stamp_of(&st);
  s->changed = true;
  return 0;
}

/* An empty file, or one whose contents another folder has. False: it has to be asked for. */
static bool make_file(struct sync *s, int parent, const char *name, struct entry *e, int *error) {
  struct part part = {.file = -1, .folder = -1, .name = ".runner-made"};
  if (e->size > 0 && !reuse_has(&s->reuse, &s->place, e)) return false;
  *error = begin_part(s, &part, parent);
  bool made = !*error && (e->size == 0 || reuse_copy(s->reuse, e, part.file));
  if (made) *error = place_part(s, &part, parent, name, e);
  end_part(&part, false);
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
  int error = s->changed ? manifest_save(s->place.home, &s->wanted, NULL) : 0;
  memcpy(path, s->place.path, sizeof path);
  s->phase = OVER;
  agent_done(s->id, error, path, strlen(path));
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
  int parent = walk_parent(&s->walk, e->path, &name), error = 0;
  if (parent < 0)
    error = errno;
  else if (e->kind == ENTRY_FOLDER)
    error = make_folder(s, parent, name, e);
  else if (e->kind == ENTRY_LINK)
    error = make_link(s, parent, name, e);
  else
    error = check_file(s, parent, name, e, index);
  if (error) fail_at(s, error, e);
}

/* Zeros are left out: what is sparse on the host stays so. */
static int write_all(int fd, struct slice bytes) {
  bool zeros = bytes.bytes[0] == 0 && memcmp(bytes.bytes, bytes.bytes + 1, bytes.size - 1) == 0;
  if (zeros) return lseek(fd, (off_t)bytes.size, SEEK_CUR) < 0 ? errno : 0;
  while (bytes.size > 0) {
    ssize_t put = write(fd, bytes.bytes, bytes.size);
    if (put < 0 && errno != EINTR) return errno;
    if (put < 0) continue;
    bytes.bytes += put;
    bytes.size -= (size_t)put;
  }
  return 0;
}

static void give_credit(struct sync *s, size_t size) {
  s->owed += (uint32_t)size;
  if (s->owed < CREDIT_BATCH) return;
  size_t frame = frame_begin(&agent.out, AGENT_TAKEN, s->id);
  put_u32(&agent.out, s->owed);
  frame_end(&agent.out, frame);
  s->owed = 0;
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
  int parent = walk_parent(&s->walk, e->path, &name), error = 0;
  if (parent < 0) error = errno;
  if (!error && s->part.file < 0) {
    error = begin_part(s, &s->part, parent);
    s->left = e->size;
    sha256_begin(&s->hash);
  }
  if (bytes.size > s->left && !error) return "a CHUNK beyond the end of its file";
  if (!error) error = write_all(s->part.file, bytes);
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
    error = place_part(s, &s->part, parent, name, e);
  if (error) {
    fail_at(s, error, e);
  } else if (++s->received == s->need_count && s->phase == RECEIVING) {
    finish(s);
  }
  return NULL;
}

bool sync_stop(uint32_t id) {
  struct sync *s = find(id);
  if (s) fail(s, ECANCELED, s->place.path);
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
    if (agent.over || buffer_length(&agent.out) >= OUT_HIGH || monotonic_us() >= until) return true;
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
