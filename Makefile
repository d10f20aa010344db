# causeway: the verbs of this repository. `make` alone explains them.
#
# Each verb does its own set-up: `demo` and `build` need only Go, `test` also
# brings the peers that it talks to (scripts/setup-peers).

GO      ?= go
LINT    := $(GO) tool -modfile=tools/go.mod golangci-lint
# The tests that run causeway as a process and drive real peers. They come last,
# two packages at a time: much of their time is waiting for timers.
PEERED  = ./test/interop ./test/signalling ./test/proxies ./test/media ./test/srtp ./test/turn ./test/attack ./test/turnload
UNIT    = $(shell $(GO) list ./... | grep -vxF "$$($(GO) list $(PEERED))")
FUZZFOR ?= 10s

.DEFAULT_GOAL := help
.PHONY: help build demo test peers unit race interop soak check lint fuzz clean

help: ## say what each verb does
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/causeway, static, without a C compiler
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/causeway ./cmd/causeway

demo: build ## serve on loopback, place real calls both ways, show their quality
	./bin/causeway demo

test: peers unit race interop ## every test: units, again under the race detector, then calls with real peers

unit:
	$(GO) vet ./...
	$(GO) test -shuffle=on -timeout=4m $(UNIT)

race:
	$(GO) test -race -shuffle=on -timeout=4m $(UNIT)

peers:
	@scripts/setup-peers

# -v names every call that was made and, should a peer be missing, why its test was skipped.
interop: peers
	$(GO) test -v -count=1 -p=2 -timeout=9m $(PEERED)

soak: peers ## 200 calls a second for a minute over TCP and UDP, each 10 s long: about five minutes
	$(GO) test -v -count=1 -timeout=15m -run='^TestTwoHundredCallsASecond$$' ./test/proxies -soak

check: lint race ## what a change must pass before review: format, vet, lint, tidy module, race detector

lint:
	@bad=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$bad" ] || { echo "not gofmt'ed: $$bad"; exit 1; }
	$(GO) vet ./...
	$(GO) mod tidy -diff
	$(LINT) run ./...

fuzz: ## every fuzz target for FUZZFOR (default 10s) each
	FUZZFOR=$(FUZZFOR) scripts/fuzz

clean: ## remove what the other verbs made
	rm -rf bin state test/out
