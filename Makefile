SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --always --dirty 2>/dev/null || echo dev)
OPERATOR_IMAGE ?= localhost/alignment-operator:dev
TRAINER_IMAGE ?= localhost/alignment-trainer:dev

# libtorch: Debian's libtorch-dev, or an unpacked libtorch named by LIBTORCH.
ifdef LIBTORCH
export CGO_CXXFLAGS := -O2 -g -I$(LIBTORCH)/include -I$(LIBTORCH)/include/torch/csrc/api/include
export CGO_LDFLAGS := -L$(LIBTORCH)/lib -Wl,-rpath,$(LIBTORCH)/lib
endif
export GOFLAGS := $(filter-out -buildvcs=%,$(GOFLAGS)) -buildvcs=false

LINT := go tool -modfile=hack/tools/lint/go.mod golangci-lint
LOCALCLUSTER := bin/localcluster
HELM := bin/helm
S3_SERVER := bin/s3server
GCS_SERVER := bin/gcsserver
# Packages as they are compiled become a count, so that a first build is seen to go on; errors pass through.
COUNT := awk '/[: ]/ { print; next } ++n % 100 == 0 { print "    " n " packages compiled"; fflush() }'
GO_SOURCES := $(shell git ls-files -co --exclude-standard '*.go' '*.cpp' '*.h' go.mod go.sum 2>/dev/null)

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: images $(HELM) ## SFT -> RM -> PPO, DPO and SimPO on a real Kubernetes (DEMO=quick: SFT, DPO; KEEP=1, DATA=, BASE=)
	@go run ./hack/demo

test: deps $(LOCALCLUSTER) $(HELM) $(S3_SERVER) $(GCS_SERVER) ## Unit tests, and the operator against a real API server
	@echo "==> Compiling (about 5 minutes the first time)"
	@go build -v ./... 2>&1 | $(COUNT)
	@echo "==> Tests (about 10 minutes; their own compilation is extra the first time)"
	@assets="$$($(LOCALCLUSTER) env)"; KUBEBUILDER_ASSETS="$$assets" HELM=$(CURDIR)/$(HELM) S3_SERVER=$(CURDIR)/$(S3_SERVER) GCS_SERVER=$(CURDIR)/$(GCS_SERVER) go test -timeout 30m ./...
	@go test -C hack/localcluster ./...
	@echo "==> What GitOps tools and Prometheus make of it, by their own libraries (about 4 minutes the first time)"
	@go test -C hack/gitops -count=1 ./... # uncached: it reads files outside of its module

e2e: images $(HELM) $(S3_SERVER) ## The whole way on real pods of a local cluster
	@echo "==> End-to-end tests (about 12 minutes)"
	@E2E_LOCALCLUSTER=$(CURDIR)/$(LOCALCLUSTER) S3_SERVER=$(CURDIR)/$(S3_SERVER) OPERATOR_IMAGE=$(OPERATOR_IMAGE) TRAINER_IMAGE=$(TRAINER_IMAGE) \
		E2E_OPERATOR_IMAGE_TAR=$(CURDIR)/out/operator.tar E2E_TRAINER_IMAGE_TAR=$(CURDIR)/out/trainer.tar \
		go test -tags e2e -count=1 -v -timeout 60m ./hack/e2e/

bench: deps ## A training step beside PyTorch's on the same libtorch (needs Debian's python3-torch)
	@hack/bench/run.sh

fuzz: deps ## Fuzz what reads bytes from outside, FUZZTIME each (default 20s)
	@for p in $$(grep -rlE '^func Fuzz' --include=*_test.go api runtime | xargs -n1 dirname | sort -u); do \
		for f in $$(grep -rhoE '^func Fuzz[A-Za-z0-9]+' $$p/*_test.go | cut -d' ' -f2); do \
			echo "==> $$p $$f"; go test ./$$p -run '^$$' -fuzz "^$$f\$$" -fuzztime $${FUZZTIME:-20s}; done; done

generate: ## Regenerate deepcopy functions, CRDs, RBAC, the chart's copies and the API reference
	@go generate ./api/... ./controllers/...
	@hack/chart/copy.sh
	@hack/tools/apidocs/generate.sh

verify: generate lint ## Fail when generated code, formatting or go.mod is not what it should be
	@go mod tidy
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "run gofmt"; exit 1; }
	@test -z "$$(git status --porcelain)" || { git status --porcelain; git --no-pager diff | head -50; echo "the tree is dirty after generating: commit the above"; exit 1; }

lint: deps ## golangci-lint, and go vet where it does not look
	@echo "==> Linting (about 5 minutes the first time: the linter is compiled)"
	@go vet -tags e2e ./hack/e2e/ && go vet -C hack/localcluster ./... && go vet -C hack/gitops ./...
	@$(LINT) run ./...

build: deps ## Build both programs into bin/
	@echo "==> Building operator and trainer (about 5 minutes the first time)"
	@mkdir -p bin
	@CGO_ENABLED=0 go build -v -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/operator ./images/operator 2>&1 | $(COUNT)
	@go build -v -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/trainer ./images/trainer 2>&1 | $(COUNT)

images: build $(LOCALCLUSTER) ## Image archives in out/, without a Docker daemon
	@echo "==> Image archives (some seconds)"
	@mkdir -p out
	@$(LOCALCLUSTER) mkimage --tag $(OPERATOR_IMAGE) --output out/operator.tar --entrypoint /operator --layer bin/operator=/operator
	@$(LOCALCLUSTER) mkimage --tag $(TRAINER_IMAGE) --output out/trainer.tar --entrypoint /trainer --libs-of bin/trainer --layer bin/trainer=/trainer

deploy: $(HELM) ## Install or upgrade OPERATOR_IMAGE, to run TRAINER_IMAGE, on the cluster that KUBECONFIG names
	@OPERATOR_IMAGE=$(OPERATOR_IMAGE) TRAINER_IMAGE=$(TRAINER_IMAGE) hack/deploy.sh

deps:
	@hack/deps.sh

$(LOCALCLUSTER): $(filter hack/localcluster/%,$(GO_SOURCES)) Makefile
	@mkdir -p bin
	@CGO_ENABLED=0 go build -C hack/localcluster -o $(CURDIR)/$@ . # not -trimpath: it finds its programs' sources

$(HELM): hack/tools/helm/go.mod hack/tools/helm/go.sum
	@echo "==> Building helm (about 3 minutes the first time)"
	@mkdir -p bin
	@CGO_ENABLED=0 go build -modfile=hack/tools/helm/go.mod -trimpath -o $@ helm.sh/helm/v4/cmd/helm

$(S3_SERVER): hack/tools/s3/go.mod hack/tools/s3/go.sum
	@echo "==> Building an S3 server to test with (about a minute the first time)"
	@mkdir -p bin
	@CGO_ENABLED=0 go build -modfile=hack/tools/s3/go.mod -trimpath -ldflags "-s -w" -o $@ github.com/versity/versitygw/cmd/versitygw

$(GCS_SERVER): hack/tools/gcs/go.mod hack/tools/gcs/go.sum
	@echo "==> Building a server of Google Cloud Storage to test with (about a minute the first time)"
	@mkdir -p bin
	@go build -modfile=hack/tools/gcs/go.mod -ldflags "-s -w" -o $@ github.com/fsouza/fake-gcs-server # as the trainer, of whose packages it has most

clean: ## Remove what was built here (the cluster's binaries stay in the user cache)
	@rm -rf bin out

.PHONY: help demo test e2e bench fuzz generate verify lint build images deploy deps clean
