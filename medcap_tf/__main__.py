"""`python -m medcap_tf`."""

from medcap_tf.cli.main import main

if __name__ == "__main__":
    main()
