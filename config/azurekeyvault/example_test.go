package azurekeyvault_test

import (
	"context"
	"fmt"
	"time"

	"github.com/svcblocks/svcblocks/config/azurekeyvault"
)

func ExampleResolver() {
	r, err := azurekeyvault.New(&azurekeyvault.Options{VaultURL: "https://team.vault.azure.net"})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, _, err = r.Resolve(context.Background(), "mail_password", "")
	fmt.Println(err)
	// Output: azurekeyvault: read mail_password: want the name of a secret (letters, digits, hyphens), or name/version
}

func ExampleOptions() {
	_, err := azurekeyvault.New(&azurekeyvault.Options{VaultURL: "team.vault.azure.net"})
	fmt.Println(err)
	// Output: azurekeyvault: new: VaultURL is no https URL with a host
}

func ExampleTokenFunc() {
	var token azurekeyvault.TokenFunc = func(context.Context, string) (string, time.Time, error) {
		return "eyJ0…", time.Now().Add(time.Hour), nil // as a credential of azidentity gives it
	}
	_, err := azurekeyvault.New(&azurekeyvault.Options{VaultURL: "https://team.vault.azure.net", Token: token, Retry: azurekeyvault.Retry{Attempts: 3}})
	fmt.Println(err)
	// Output: <nil>
}

func ExampleError() {
	err := &azurekeyvault.Error{Op: "read", Path: "mail-password", StatusCode: 404, Err: azurekeyvault.ErrNotFound}
	fmt.Println(err, err.Temporary())
	// Output: azurekeyvault: read mail-password: status 404: not found false
}
