# Shows the process id.
echo $$
