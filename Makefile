# Every target is described by the text behind its ##; `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

ROOT    := $(CURDIR)
MODULES := $(shell find . -name go.mod -not -path './.cache/*' -not -path './internal/tools/*' -not -path './internal/vaultserver/*' -exec dirname {} \; | sort)
TOOL    := go tool -modfile='$(ROOT)/internal/tools/go.mod'
GOTEST  := $(TOOL) gotestsum --format pkgname-and-test-fails --format-hide-empty-pkg --
TIMEOUT := 20m
FUZZ    := 5s

# each runs a command in the folder of every module and stops at the first that fails.
each = @set -e; for m in $(MODULES); do echo "-- $$m: $(1)"; (cd $$m && $(1)); done

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

.PHONY: run
run: ## build and start the showcase; Ctrl-C ends it
	@cd examples && go build -trimpath -o ../bin/shopwatch ./shopwatch
	@trap '' INT; exec bin/shopwatch

.PHONY: samples
samples: ## run each sample on data that it makes itself, into examples/var/samples
	@rm -rf examples/var/samples
	cd examples && MINIMAL_LOG_FILE_PATH=var/samples/log/app.log go run ./minimal
	cd examples && go run ./logship -dir var/samples/log
	cd examples && go run ./adopt/step4 config explain
	cd examples && go test -count=1 -run '^TestEachStageServes$$' ./adopt
	cd examples && go run ./retrieve -out var/samples/retrieve
	cd examples && go run ./features -in var/samples/retrieve -out var/samples/features
	@if [ -f examples/ml/go.mod ]; then set -ex; cd examples/ml; go run . train -in ../var/samples/features -models ../var/samples/models; go run . demo; fi
	@if [ -f examples/fleet/main.go ]; then set -ex; cd examples; FLEET_LISTEN=127.0.0.1:0 go run ./fleet demo; fi

.PHONY: quick
quick: ## format, vet, the rules of the house and short tests of what changed (a minute, warm)
	@.ci/quick.sh

# timed runs targets in their order and says how long each took.
timed = @.ci/timed.sh "$(MAKE)"

.PHONY: test
test: ## all that a change must pass: checks, tests under -race, short fuzzing (25 minutes at most)
	$(timed) deps check race weight fuzz

SOAK := SVCBLOCKS_SOAK=1 $(GOTEST) -race -shuffle=on -count=1 -timeout 40m

.PHONY: soak
soak: ## every repetition and bound in full, room by room (4 hours)
	$(timed) soak-config soak-logging soak-notify soak-scrape soak-examples soak-fuzz

.PHONY: soak-config
soak-config: vault ## config in full, a real Vault included (40 minutes)
	$(SOAK) ./config/...

.PHONY: soak-logging
soak-logging: ## logging in full, with real receivers (40 minutes)
	$(SOAK) ./logging/... ./internal/redact ./internal/options ./internal/backoff ./internal/filelock ./internal/atomicfile
	cd internal/receivers && $(SOAK) ./...

.PHONY: soak-notify
soak-notify: ## notify in full (40 minutes)
	$(SOAK) ./notify/...

.PHONY: soak-scrape
soak-scrape: ## scrape in full (40 minutes)
	$(SOAK) ./scrape/...

.PHONY: soak-examples
soak-examples: ## the samples in full (40 minutes)
	@set -e; for m in $(filter ./examples%,$(MODULES)); do echo "-- $$m"; (cd $$m && $(SOAK) ./...); done

.PHONY: soak-fuzz
soak-fuzz: ## each fuzz target for 40 s (40 minutes)
	@.ci/fuzz.sh 40s $(MODULES)

.PHONY: vault
vault: ## config/vault against a real Vault, which takes minutes to build
	cd internal/vaultserver && GOWORK=off go mod tidy -diff && CGO_ENABLED=0 go vet -trimpath . && go vet ./tests && $(TOOL) staticcheck ./tests
	cd internal/vaultserver && $(GOTEST) -race -shuffle=on -timeout $(TIMEOUT) ./tests

.PHONY: test-docker
test-docker: ## what needs a Docker engine, images included (20 minutes where nothing else runs)
	@$(DEPLOY) images
	@set -e; for d in $$(grep -rl --include='*_test.go' '^//go:build docker' . | xargs -n 1 dirname | sort -u); do \
	  echo "-- $$d"; (cd $$d && $(GOTEST) -tags docker -count=1 -timeout 60m -run '^TestDocker' .); done

DEPLOY := examples/shopwatch/deploy/deploy.sh

# What has locks, atomics, encoders or numbers of the machine's own width.
WIDTHS := ./internal/atomicfile ./internal/backoff ./internal/filelock ./internal/health ./internal/loopback ./internal/options \
  ./internal/redact ./internal/safefile ./internal/safehttp ./config/secret ./config/internal/... ./config/koanf \
  ./logging/internal/... ./logging/sink/... ./notify/slack ./notify/webhook ./scrape/text ./scrape/useragent

.PHONY: test-386
test-386: ## the packages that could mind 32 bits
	GOARCH=386 CGO_ENABLED=0 go test -short -timeout $(TIMEOUT) $(WIDTHS)

.PHONY: test-arm64
test-arm64: ## the same on arm64, under qemu-user
	@.ci/qemu.sh
	GOARCH=arm64 CGO_ENABLED=0 SVCBLOCKS_EMULATOR=qemu-aarch64-static go test -short -timeout $(TIMEOUT) -exec qemu-aarch64-static $(WIDTHS)

.PHONY: test-windows
test-windows: ## the root module's tests for Windows, under Wine
	@.ci/windows.sh $$(go list ./... | grep -vE '/internal/(house|testenv|lifetest)')

.PHONY: image
image: ## build the showcase's image, svcblocks-service (TARGET=dev: with the demo parts)
	@$(DEPLOY) image $(TARGET)

.PHONY: up
up: ## start the showcase in containers, https://localhost:8443 (PROFILE=dev: with the demo parts)
	@$(DEPLOY) up $(PROFILE)

.PHONY: down
down: ## end the containers of `make up`; what they stored stays
	@$(DEPLOY) down

.PHONY: deps
deps: ## get the real parts that the tests run against
	@.ci/deps.sh

.PHONY: check
check: fmt-check tidy-check vet fix-check lint actionlint licences deadcode vuln ## everything but the tests

.PHONY: fmt
fmt: ## format the code
	@$(TOOL) gofumpt -l -w .

.PHONY: fmt-check
fmt-check:
	@out=$$($(TOOL) gofumpt -l .); [ -z "$$out" ] || { echo "gofumpt would change (make fmt):"; echo "$$out"; exit 1; }

.PHONY: tidy
tidy: ## tidy every module
	$(call each,GOWORK=off go mod tidy)

.PHONY: tidy-check
tidy-check:
	$(call each,GOWORK=off go mod tidy -diff)

# Where nothing of ours is run, but the blocks compile.
COMPILED := freebsd/amd64,openbsd/amd64,netbsd/amd64,illumos/amd64,solaris/amd64,android/arm64,ios/arm64,js/wasm,wasip1/wasm

.PHONY: vet
vet: ## go vet, for every platform that is supported
	$(call each,go vet ./...)
	$(call each,go vet -tags docker ./...)
	@set -e; for os in linux darwin windows; do for arch in amd64 arm64; do \
	  echo "-- vet $$os/$$arch"; \
	  for m in . ./examples; do (cd $$m && CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch go vet ./...); done; \
	done; done
	@go run .ci/platforms.go $(COMPILED) ./config/... ./logging/... ./notify/... ./scrape/...

.PHONY: fix-check
fix-check:
	$(call each,go fix -diff ./...)

.PHONY: licences
licences: ## what the programs link is under licences that MIT code may link
	go test -count=1 -run '^TestLicences$$' ./internal/house

.PHONY: actionlint
actionlint: ## mistakes in the workflows
	@$(TOOL) actionlint

.PHONY: lint
lint: ## staticcheck, sloglint and go-errorlint
	$(call each,$(TOOL) staticcheck ./...)
	$(call each,$(TOOL) sloglint -no-global=all -static-msg -key-naming-case=snake ./...)
	$(call each,$(TOOL) go-errorlint ./...)

.PHONY: deadcode
deadcode: ## functions that nothing calls, neither a program nor a test
	@set -e; for m in $(MODULES); do (cd $$m && out=$$($(TOOL) deadcode -test ./...) && \
	  { [ -z "$$out" ] || { echo "$$out"; exit 1; }; }); done

.PHONY: vuln
vuln: ## known vulnerabilities; VULNDB=file://DIR names a local database
	@if [ -n "$$VULNDB" ]; then set -e; for m in $(MODULES); do (cd $$m && $(TOOL) govulncheck -db "$$VULNDB" ./...); done; \
	elif [ -n "$$CI" ]; then echo "vuln: skipped: no VULNDB given"; \
	else for m in $(MODULES); do (cd $$m && $(TOOL) govulncheck ./...); rc=$$?; \
	  case $$rc in 0) ;; 3) exit 3 ;; *) echo "vuln: skipped: the database cannot be reached" ; break ;; esac; done; fi

.PHONY: race
race: ## the tests of every module under the race detector
	$(call each,$(GOTEST) -race -shuffle=on -timeout $(TIMEOUT) ./...)

.PHONY: weight
weight: ## what each package costs a program outside this repository
	go test -count=1 -v -run '^TestWeight$$' ./internal/house

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZ (5s)
	@.ci/fuzz.sh $(FUZZ) $(MODULES)

.PHONY: lines
lines: ## lines of code in each room: no blank lines, comments, tests or suites
	@go run .ci/lines.go

.PHONY: cover
cover: ## test coverage per function in bin/cover.txt
	@mkdir -p bin && go test -coverprofile=bin/cover.out ./... >/dev/null && go tool cover -func=bin/cover.out > bin/cover.txt && tail -n 1 bin/cover.txt

.PHONY: bench-peers
bench-peers: ## our blocks beside their peers, into internal/bench/README.md
	cd internal/bench && go run ./peers -write README.md

.PHONY: api-update
api-update: ## accept the exported API and the weights as they are now
	go test ./internal/house -update
