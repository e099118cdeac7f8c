/* Turns the bytes of an XML document into UTF-8: from the encoding that a byte order mark or the XML declaration names.
 *
 * What is no character in that encoding is copied as it is, for the reader to find that it is no UTF-8. */
#ifndef RUNNER_XML_ENCODING_H
#define RUNNER_XML_ENCODING_H

#include <iconv.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ENCODING_SLICE  16384 /* bytes that one call takes at most */
#define ENCODING_HEAD   1024  /* an XML declaration is shorter */
#define ENCODING_GROWTH 4     /* no allowed encoding grows more than so many times */
#define ENCODING_ROOM   (ENCODING_HEAD + ENCODING_SLICE + 16)

enum encoding_kind { ENCODING_UTF8, ENCODING_UTF16_LITTLE, ENCODING_UTF16_BIG, ENCODING_TABLE };

struct encoding {
  char name[32];  /* the one declared, or found; "" until known */
  bool known;     /* the first bytes have been judged; nothing is converted before that */
  bool wrong;     /* the declared one is unknown, or plainly not the one used: read as UTF-8 */
  size_t invalid; /* halves of characters at the end */

  /* Private. */
  enum encoding_kind kind;
  iconv_t converter; /* of ENCODING_TABLE; else (iconv_t)-1 */
  char *head;        /* the first bytes, until the encoding is known */
  size_t head_size;
  char *raw; /* bytes to convert: at first what the last slice left incomplete */
  size_t raw_size;
};

/* False: no memory. Either way encoding_close must follow; a zeroed struct may be closed. */
bool encoding_open(struct encoding *encoding);
void encoding_close(struct encoding *encoding);

/* Writes at most ENCODING_GROWTH * ENCODING_ROOM bytes to `to`; returns how many. `last`: nothing follows. */
size_t encoding_convert(struct encoding *encoding, const char *bytes, size_t size, bool last,
                        char *to);

/* Writes the UTF-8 of a character, up to 4 bytes; returns how many. */
size_t utf8_encode(uint32_t code, char *to);

#endif
