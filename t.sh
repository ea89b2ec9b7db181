nice -n 5 .venv/bin/python -m pytest -q -p no:cacheprovider "$@" 2>&1 | grep -E "^E  |passed|FAILED|ERROR" | cut -c1-400 | head -40
