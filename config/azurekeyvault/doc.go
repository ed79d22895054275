// Package azurekeyvault resolves references to secrets in Azure Key Vault. It
// speaks the REST API over net/http and needs no SDK.
//
//	r, err := azurekeyvault.New(&azurekeyvault.Options{VaultURL: "https://team.vault.azure.net"})
//	store, err := config.Load(ctx, Settings{}, config.File("config.yaml"), config.Resolve("azurekeyvault", r))
//
// The path of a reference is the secret's name, with a version if one is
// wanted: ref+azurekeyvault://mail-password or
// ref+azurekeyvault://mail-password/0123456789abcdef0123456789abcdef. With
// #key the secret's value is a JSON object, of which one value is taken.
//
// By default the resolver logs in by the managed identity of the machine,
// container or App Service it runs in. Any other credential is a function. With
// azidentity (github.com/Azure/azure-sdk-for-go/sdk/azidentity) it is:
//
//	cred, err := azidentity.NewDefaultAzureCredential(nil)
//	opts.Token = func(ctx context.Context, resource string) (string, time.Time, error) {
//		t, err := cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{resource + "/.default"}})
//		return t.Token, t.ExpiresOn, err
//	}
//
// The resolver starts no goroutine. The lease of a secret lasts until it
// expires; a secret without an expiry is read again by config.Store.Refresh.
package azurekeyvault
