// Command vaultserver is a HashiCorp Vault in development mode: the real core,
// HTTP API, token store and lease manager, with storage in memory and these
// engines alone: kv (versions 1 and 2), leased-kv (version 1 with a lease on
// every secret), approle and kubernetes. Version 2 is mounted at secret/, as
// `vault server -dev` does.
//
//	go build -o vaultserver ./internal/vaultserver
//	VAULT_DEV_ROOT_TOKEN_ID=root ./vaultserver -listen 127.0.0.1:8200
//
// It is for tests and for trying things out: plain HTTP, and nothing outlives
// the process. It is a module of its own, as its dependencies must reach nobody
// and Vault's licence (BUSL-1.1) is not ours; no release contains it.
package main
