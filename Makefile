# Two commands matter: `make demo` shows what GLXC does, `make test` proves it.

PREFIX ?= /usr/local
ARCH := $(shell uname -m)

.PHONY: help demo test soak mutants check bench build install uninstall clean

help:
	@echo 'make demo      push an example shop into a new container, change it there, pull the change (root, Debian)'
	@echo 'make test      run all checks and tests, with real containers and servers (root, Debian)'
	@echo 'make soak      the long tests with their full numbers, for hours (root, Debian)'
	@echo 'make mutants   switch off one guard at a time and look that the tests notice (root, Debian)'
	@echo 'make check     format, lints, documentation, dependencies: the quick part of the tests'
	@echo 'make bench     measure the main costs against the native tools (root, Debian)'
	@echo 'make build     build the programs'
	@echo 'make install   install them under PREFIX ($(PREFIX))'

demo:
	@scripts/demo.sh

test:
	@scripts/test.sh

soak:
	@scripts/soak.sh

mutants:
	@scripts/mutants.sh

check:
	@scripts/check.sh

bench:
	@bench/run.sh

build:
	@scripts/build.sh

install: build
	@scripts/install.sh '$(DESTDIR)$(PREFIX)'

uninstall:
	rm -rf '$(DESTDIR)$(PREFIX)/libexec/glxc' '$(DESTDIR)$(PREFIX)/share/doc/glxc'
	rm -f '$(DESTDIR)$(PREFIX)/bin/glxc' '$(DESTDIR)$(PREFIX)/bin/git-remote-glxc'

clean:
	cargo clean
