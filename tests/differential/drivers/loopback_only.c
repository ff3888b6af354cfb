/* Keeps the drivers on this host: no name is asked of a server, no connection leaves the loopback.
 *
 * Some URLs of the corpus are read as strange host names by some driver. Preloaded into every driver,
 * this answers such a name with "not found" instead of asking the network, and refuses to connect to
 * any address but 127.0.0.0/8 and ::1. Addresses in any notation, and localhost, pass. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

typedef int (*resolve)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
typedef int (*reach)(int, const struct sockaddr *, socklen_t);

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **result) {
    resolve real = (resolve)dlsym(RTLD_NEXT, "getaddrinfo");
    struct addrinfo numeric;
    if (node == NULL || strcasecmp(node, "localhost") == 0)
        return real(node, service, hints, result);
    if (hints != NULL)
        numeric = *hints;
    else
        memset(&numeric, 0, sizeof numeric);
    numeric.ai_flags |= AI_NUMERICHOST;
    return real(node, service, &numeric, result);
}

static int is_loopback(const struct sockaddr *address) {
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
        return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
    }
    if (address->sa_family == AF_INET6) {
        const struct in6_addr *v6 = &((const struct sockaddr_in6 *)address)->sin6_addr;
        return IN6_IS_ADDR_LOOPBACK(v6) || (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == 127);
    }
    return 1;
}

int connect(int descriptor, const struct sockaddr *address, socklen_t length) {
    reach real = (reach)dlsym(RTLD_NEXT, "connect");
    if (!is_loopback(address)) {
        errno = ENETUNREACH;
        return -1;
    }
    return real(descriptor, address, length);
}
