# Shows where and with which umask the program runs.
pwd -P
umask
