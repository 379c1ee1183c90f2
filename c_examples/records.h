/* The records that examples 05, 06 and 07 pass from a writer to a reader. */
#ifndef RECORDS_H
#define RECORDS_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define PEOPLE 10
#define NAME_SIZE 32

struct person {
    char name[NAME_SIZE]; /* ends with a zero byte */
    int32_t age;          /* years */
};

/* The layout is the same in every program that reads it: no padding, no pointers. */
struct people {
    struct person person[PEOPLE];
};
_Static_assert(sizeof(struct people) == PEOPLE * (NAME_SIZE + 4), "records must not be padded");

static inline void store_people(struct people *people)
{
    static const struct people sample = { {
        { "Amina Okafor", 34 },
        { "Bjorn Lindqvist", 71 },
        { "Carmen Ruiz", 8 },
        { "Dmitri Volkov", 45 },
        { "Esi Mensah", 102 },
        { "Farid Haddad", 0 },
        { "Grace Thistlethwaite-Featherton", 58 },
        { "Hiro Tanaka", 29 },
        { "Ines Carvalho", 17 },
        { "Jo Li", 63 },
    } };
    memcpy(people, &sample, sizeof sample);
}

/* Prints at most NAME_SIZE bytes of a name: another program wrote it. */
static inline void print_people(const struct people *people)
{
    printf("%-*s age\n", NAME_SIZE, "name");
    for (int i = 0; i < PEOPLE; i++)
        printf("%-*.*s %3d\n", NAME_SIZE, NAME_SIZE, people->person[i].name,
               (int)people->person[i].age);
}

#endif
