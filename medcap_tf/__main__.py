"""`python -m medcap_tf`."""

from medcap_tf.cli import main

if __name__ == "__main__":
    main()
