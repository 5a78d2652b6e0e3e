/* Counts the instructions that a program emulated by QEMU executes between two marks.
 *
 * The program marks region n by getpriority(MARK, 2n) and getpriority(MARK, 2n + 1), calls that Linux
 * refuses and that have no other effect. At its end the counts of all translation blocks that ran in
 * it are written as lines "address instructions" (hexadecimal, decimal) into the file <out>.<n>, where
 * out= is the plugin's argument. Count one thread: the additions are not atomic.
 *
 * The declarations below are the part of QEMU's plugin interface, version 1, that is used here.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info_t qemu_info_t;
struct qemu_plugin_tb;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };

extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
extern void qemu_plugin_register_vcpu_tb_trans_cb(
    qemu_plugin_id_t id, void (*callback)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_inline(
    struct qemu_plugin_tb *tb, enum qemu_plugin_op op, void *counter, uint64_t addend);
extern void qemu_plugin_register_vcpu_syscall_cb(
    qemu_plugin_id_t id,
    void (*callback)(qemu_plugin_id_t, unsigned int vcpu, int64_t number, uint64_t a1, uint64_t a2,
                     uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8));

enum { GETPRIORITY = 141, MARK = 0x4d41, BUCKETS = 1 << 16 };

struct block {
    uint64_t address;
    uint64_t length;
    uint64_t executed; /* instructions, added by the generated code itself */
    struct block *next;
};

__attribute__((visibility("default"))) int qemu_plugin_version = 1;
static struct block *buckets[BUCKETS];
static const char *output;

static struct block *find(uint64_t address, uint64_t length)
{
    struct block **slot = &buckets[(address >> 2) % BUCKETS];
    for (struct block *block = *slot; block; block = block->next) {
        if (block->address == address && block->length == length) {
            return block;
        }
    }
    struct block *block = calloc(1, sizeof *block);
    if (!block) {
        abort();
    }
    *block = (struct block){.address = address, .length = length, .next = *slot};
    return *slot = block;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    (void)id;
    uint64_t length = qemu_plugin_tb_n_insns(tb);
    struct block *block = find(qemu_plugin_tb_vaddr(tb), length);
    qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &block->executed, length);
}

static void start(void)
{
    for (int i = 0; i < BUCKETS; i++) {
        for (struct block *block = buckets[i]; block; block = block->next) {
            block->executed = 0;
        }
    }
}

static void end(uint64_t region)
{
    char name[4096];
    snprintf(name, sizeof name, "%s.%" PRIu64, output, region);
    FILE *file = fopen(name, "w");
    if (!file) {
        perror(name);
        abort();
    }
    for (int i = 0; i < BUCKETS; i++) {
        for (struct block *block = buckets[i]; block; block = block->next) {
            if (block->executed) {
                fprintf(file, "%" PRIx64 " %" PRIu64 "\n", block->address, block->executed);
            }
        }
    }
    fclose(file);
}

static void called(qemu_plugin_id_t id, unsigned int vcpu, int64_t number, uint64_t a1, uint64_t a2,
                   uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id, (void)vcpu, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number != GETPRIORITY || a1 != MARK) {
        return;
    }
    if (a2 % 2 == 0) {
        start();
    } else {
        end(a2 / 2);
    }
}

__attribute__((visibility("default"))) int qemu_plugin_install(
    qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "out=", 4) == 0) {
            output = strdup(argv[i] + 4);
        }
    }
    if (!output) {
        fprintf(stderr, "qcount: give out=FILE\n");
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    return 0;
}
