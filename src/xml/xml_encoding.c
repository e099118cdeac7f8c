/* Finds out the encoding of an XML document from its first bytes, and converts the rest with a table of its own for
 * UTF-16, and iconv for the others. */
#define _GNU_SOURCE /* memmem */
#include "xml_encoding.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEAD     ENCODING_HEAD
#define RAW      ENCODING_ROOM
#define NO_ICONV ((iconv_t)-1)

/* Only tables of a fixed width or a simple shape: a hostile report must not choose any converter it likes. */
static bool allowed_encoding(const char *name) {
  static const char *const families[] = {"iso-8859-", "iso8859-", "windows-125", "cp125",
                                         "koi8-",     "latin1",   "latin-1"};
  static const char *const names[] = {"shift_jis", "sjis", "windows-31j", "cp932", "ms932",
                                      "euc-jp",    "gbk",  "gb2312",      "big5",  "euc-kr"};
  for (size_t i = 0; i < sizeof families / sizeof *families; i++)
    if (strncasecmp(name, families[i], strlen(families[i])) == 0) return true;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcasecmp(name, names[i]) == 0) return true;
  return false;
}

static void use_declared(struct encoding *encoding, const char *name) {
  snprintf(encoding->name, sizeof encoding->name, "%s", name);
  if (strcasecmp(name, "utf-8") == 0 || strcasecmp(name, "utf8") == 0 ||
      strcasecmp(name, "us-ascii") == 0 || strcasecmp(name, "ascii") == 0)
    return;
  if (allowed_encoding(name)) {
    bool japanese = strcasecmp(name, "ms932") == 0 || strcasecmp(name, "windows-31j") == 0;
    bool latin1 = strcasecmp(name, "latin-1") == 0;
    encoding->converter = iconv_open("UTF-8", japanese ? "CP932" : latin1 ? "ISO-8859-1" : name);
  }
  encoding->wrong = encoding->converter == NO_ICONV;
  if (!encoding->wrong) encoding->kind = ENCODING_TABLE;
}

static void use_utf16(struct encoding *encoding, bool little) {
  snprintf(encoding->name, sizeof encoding->name, little ? "UTF-16LE" : "UTF-16BE");
  encoding->kind = little ? ENCODING_UTF16_LITTLE : ENCODING_UTF16_BIG;
}

/* The encoding="…" of a declaration, into `name`. */
static void declared_encoding(const char *text, size_t size, char name[32]) {
  name[0] = '\0';
  static const char key[] = "encoding";
  const char *end = text + size;
  const char *at = memmem(text, size, key, sizeof key - 1);
  if (at == NULL) return;
  at += sizeof key - 1;
  while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r' || *at == '=')) at++;
  if (at >= end || (*at != '"' && *at != '\'')) return;
  char quote = *at++;
  size_t length = 0;
  while (at < end && *at != quote) {
    bool letter = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') ||
                  (*at >= '0' && *at <= '9') || *at == '-' || *at == '_' || *at == '.';
    if (!letter || length == 31) {
      length = 0;
      break;
    }
    name[length++] = *at++;
  }
  name[length] = '\0';
}

/* Decides from the first bytes; false: more are needed. Sets *skip to the size of a byte order mark. */
static bool sniff(struct encoding *encoding, bool last, size_t *skip) {
  const unsigned char *b = (const unsigned char *)encoding->head;
  size_t n = encoding->head_size;
  *skip = 0;
  if (n < 4 && !last) return false;
  if (n >= 3 && memcmp(b, "\xEF\xBB\xBF", 3) == 0) {
    snprintf(encoding->name, sizeof encoding->name, "UTF-8");
    *skip = 3;
    return true;
  }
  if (n >= 2 && (memcmp(b, "\xFF\xFE", 2) == 0 || memcmp(b, "\xFE\xFF", 2) == 0)) {
    use_utf16(encoding, b[0] == 0xFF);
    *skip = 2;
    return true;
  }
  if (n >= 4 && ((b[0] != 0 && b[1] == 0 && b[2] != 0 && b[3] == 0) ||
                 (b[0] == 0 && b[1] != 0 && b[2] == 0 && b[3] != 0))) {
    use_utf16(encoding, b[1] == 0);
    return true;
  }
  size_t start = 0;
  while (start < n && (b[start] == ' ' || b[start] == '\t' || b[start] == '\n' || b[start] == '\r'))
    start++;
  bool maybe = n - start < 5 ? memcmp(b + start, "<?xml", n - start) == 0
                             : memcmp(b + start, "<?xml", 5) == 0;
  if (!maybe) {
    snprintf(encoding->name, sizeof encoding->name, "UTF-8");
    return true;
  }
  const char *end = memmem(b, n, "?>", 2);
  if (end == NULL && !last && n < HEAD) return false;
  char name[32] = "";
  if (end != NULL)
    declared_encoding(encoding->head + start, (size_t)(end - encoding->head) - start, name);
  use_declared(encoding, name[0] != '\0' ? name : "UTF-8");
  return true;
}

size_t utf8_encode(uint32_t code, char *to) {
  if (code < 0x80) {
    to[0] = (char)code;
    return 1;
  }
  size_t size = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  for (size_t i = size - 1; i > 0; i--, code >>= 6) to[i] = (char)(0x80 | (code & 0x3F));
  to[0] = (char)((size == 2 ? 0xC0 : size == 3 ? 0xE0 : 0xF0) | code);
  return size;
}

/* Lone surrogates come out as bytes that are not UTF-8, for the walk below to keep as such. */
static size_t convert_utf16(struct encoding *encoding, bool last, char **to) {
  const unsigned char *raw = (const unsigned char *)encoding->raw;
  size_t at = 0, size = encoding->raw_size;
  int low = encoding->kind == ENCODING_UTF16_LITTLE ? 0 : 1;
  while (at + 2 <= size) {
    uint32_t unit = raw[at + (size_t)low] | (uint32_t)raw[at + 1 - (size_t)low] << 8;
    size_t width = 2;
    if (unit >= 0xD800 && unit < 0xDC00) {
      if (at + 4 > size && !last) break;
      if (at + 4 <= size) {
        uint32_t next = raw[at + 2 + (size_t)low] | (uint32_t)raw[at + 3 - (size_t)low] << 8;
        if (next >= 0xDC00 && next < 0xE000) {
          unit = 0x10000 + ((unit - 0xD800) << 10) + (next - 0xDC00);
          width = 4;
        }
      }
    }
    *to += utf8_encode(unit, *to);
    at += width;
  }
  if (last && at < size) {
    encoding->invalid++;
    at = size;
  }
  return at;
}

static size_t convert_table(struct encoding *encoding, bool last, char **to, size_t to_size) {
  char *from = encoding->raw;
  size_t from_size = encoding->raw_size;
  while (from_size > 0) {
    if (iconv(encoding->converter, &from, &from_size, to, &to_size) != (size_t)-1) break;
    if (errno == EINVAL && !last) break; /* the rest of a character follows */
    if (errno == E2BIG) break;           /* cannot be: there is room for any slice */
    *(*to)++ = *from++; /* left as it is for the reader, which finds it is no UTF-8 */
    to_size--;
    from_size--;
  }
  return (size_t)(from - encoding->raw);
}

/* Returns how many bytes it has written to `to`, which has room for `room`. */
static size_t convert(struct encoding *encoding, const char *bytes, size_t size, bool last,
                      char *to, size_t room) {
  char *end = to;
  if (size == 0) bytes = ""; /* memcpy takes no null pointer */
  if (encoding->kind == ENCODING_UTF8) {
    memcpy(to, bytes, size);
    return size;
  }
  memcpy(encoding->raw + encoding->raw_size, bytes, size);
  encoding->raw_size += size;
  size_t used = encoding->kind == ENCODING_TABLE ? convert_table(encoding, last, &end, room)
                                                 : convert_utf16(encoding, last, &end);
  encoding->raw_size -= used;
  memmove(encoding->raw, encoding->raw + used, encoding->raw_size);
  return (size_t)(end - to);
}

bool encoding_open(struct encoding *encoding) {
  *encoding = (struct encoding){.converter = NO_ICONV};
  encoding->head = malloc(HEAD);
  encoding->raw = malloc(RAW);
  return encoding->head != NULL && encoding->raw != NULL;
}

void encoding_close(struct encoding *encoding) {
  if (encoding->raw != NULL && encoding->converter != NO_ICONV) iconv_close(encoding->converter);
  free(encoding->head);
  free(encoding->raw);
  *encoding = (struct encoding){.converter = NO_ICONV};
}

size_t encoding_convert(struct encoding *encoding, const char *bytes, size_t size, bool last,
                        char *to) {
  const size_t most = ENCODING_GROWTH * ENCODING_ROOM;
  size_t written = 0;
  if (!encoding->known) {
    size_t room = HEAD - encoding->head_size, take = size < room ? size : room, skip;
    if (take > 0) memcpy(encoding->head + encoding->head_size, bytes, take);
    encoding->head_size += take;
    bytes += take;
    size -= take;
    encoding->known = sniff(encoding, last, &skip);
    if (!encoding->known) return 0;
    written = convert(encoding, encoding->head + skip, encoding->head_size - skip,
                      last && size == 0, to, most);
  }
  if (size > 0 || last)
    written += convert(encoding, bytes, size, last, to + written, most - written);
  return written;
}
