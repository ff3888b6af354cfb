# Ends with a status of its own.
echo out
exit 42
