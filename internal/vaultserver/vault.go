package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"

	"github.com/hashicorp/go-hclog"
	kubernetes "github.com/hashicorp/vault-plugin-auth-kubernetes"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/builtin/credential/approle"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

// development is an unsealed core.
type development struct {
	core      *vault.Core
	handler   http.Handler
	unsealKey string
}

// start makes a core in memory, opens it and mounts secret/.
func start(ctx context.Context, token string) (*development, error) {
	logger := hclog.New(&hclog.LoggerOptions{Name: "vault", Level: hclog.Warn, Output: os.Stderr})
	storage, err := inmem.NewInmem(nil, logger)
	if err != nil {
		return nil, err
	}

	core, err := vault.NewCore(&vault.CoreConfig{
		Physical: storage,
		LogicalBackends: map[string]logical.Factory{
			"kv":        kv.Factory,
			"leased-kv": vault.LeasedPassthroughBackendFactory,
		},
		CredentialBackends: map[string]logical.Factory{"approle": approle.Factory, "kubernetes": kubernetes.Factory},
		BuiltinRegistry:    builtin{},
		DisableMlock:       true,
		Logger:             logger,
	})
	if err != nil {
		return nil, err
	}
	dev := &development{core: core, handler: vaulthttp.Handler.Handler(&vault.HandlerProperties{
		Core:           core,
		ListenerConfig: &configutil.Listener{Type: "tcp"},
	})}

	initial, err := core.Initialize(ctx, &vault.InitParams{
		BarrierConfig:  &vault.SealConfig{SecretShares: 1, SecretThreshold: 1, StoredShares: 1},
		RecoveryConfig: &vault.SealConfig{SecretShares: 1, SecretThreshold: 1},
	})
	if err != nil {
		return nil, err
	}

	dev.unsealKey = hex.EncodeToString(initial.SecretShares[0])
	if unsealed, err := core.Unseal(initial.SecretShares[0]); err != nil || !unsealed {
		return nil, fmt.Errorf("unseal: %t, %w", unsealed, err)
	}

	for _, r := range []request{
		{"POST", "auth/token/create", map[string]any{"id": token, "policies": []string{"root"}, "no_parent": true, "no_default_policy": true}},
		{"POST", "auth/token/revoke-self", nil},
	} {
		if err := dev.do(ctx, initial.RootToken, r); err != nil {
			return nil, err
		}
	}

	return dev, dev.do(ctx, token, request{"POST", "sys/mounts/secret", map[string]any{"type": "kv", "options": map[string]any{"version": "2"}}})
}

// request is one call of the API.
type request struct {
	Method string `json:"method"`
	Path   string `json:"path"` // without /v1/
	Body   any    `json:"body"`
}

// make makes the requests that the file lists.
func (d *development) make(ctx context.Context, file, token string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var list []request
	if err := json.Unmarshal(data, &list); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, r := range list {
		if err := d.do(ctx, token, r); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

// do makes a request of the handler itself. Its body stays out of the error.
func (d *development) do(ctx context.Context, token string, r request) error {
	body, err := json.Marshal(r.Body)
	if err != nil {
		return err
	}
	target := url.URL{Scheme: "http", Host: "127.0.0.1", Path: "/v1/" + r.Path}
	req := httptest.NewRequestWithContext(ctx, r.Method, target.String(), bytes.NewReader(body))
	req.Header.Set("X-Vault-Token", token)
	req.Header.Set("X-Vault-Request", "true")
	recorded := httptest.NewRecorder()
	d.handler.ServeHTTP(recorded, req)
	if recorded.Code >= http.StatusBadRequest {
		return fmt.Errorf("%s %s: status %d: %s", r.Method, r.Path, recorded.Code, bytes.TrimSpace(recorded.Body.Bytes()))
	}
	return nil
}

// builtin is the catalog of plugins beside the backends that the core is
// given: there are none.
type builtin struct{}

func (builtin) Contains(string, consts.PluginType) bool                   { return false }
func (builtin) Get(string, consts.PluginType) (func() (any, error), bool) { return nil, false }
func (builtin) Keys(consts.PluginType) []string                           { return nil }
func (builtin) IsBuiltinEntPlugin(string, consts.PluginType) bool         { return false }
func (builtin) DeprecationStatus(string, consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Unknown, false
}
