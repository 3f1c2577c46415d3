/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the two halves of the model share: names and contents that follow from numbers. */
#ifndef R5FS_TESTS_MODEL_PARTS_H
#define R5FS_TESTS_MODEL_PARTS_H

#include "model.h"

const struct model_page *model_find_page(const struct model_inode *inode, uint64_t block);
void model_fill_bytes(uint64_t seed, uint8_t *data, uint32_t bytes);
/* Text of name number `name`; some have 255 bytes. */
const char *model_name(uint32_t name, char text[256]);
const char *model_xattr_name(uint32_t name);
bool model_xattr_is_user(uint32_t name);

#endif
