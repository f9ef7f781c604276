/** Runs in the live page. Asks for a key where the controller has keys. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { connect } from './live.ts';
import { savedKey, saveKey } from './server.ts';

export function SignIn({ isDenied }: { readonly isDenied: boolean }): JSX.Element {
  const [key, setKey] = useState('');
  const wasRefused = savedKey() !== '';
  return (
    <form
      class="card sign-in"
      onSubmit={(event) => {
        event.preventDefault();
        saveKey(key.trim());
        connect();
      }}
    >
      <h1>Sign in</h1>
      <p>
        This controller has keys. The page needs one with the role <code>admin</code>, as{' '}
        <code>snapctr keys add NAME --role admin</code> shows it.
      </p>
      {wasRefused && (
        <p class="problem" role="alert">
          {isDenied ? 'This key may not read the state of the controller.' : 'The controller does not know this key.'}
        </p>
      )}
      <label>
        Key
        <input
          type="password"
          autocomplete="off"
          required
          placeholder="ID.SECRET"
          value={key}
          onInput={({ currentTarget }) => setKey(currentTarget.value)}
        />
      </label>
      <button type="submit">Sign in</button>
      <p class="quiet">It stays in this tab, and is forgotten when the tab is closed.</p>
    </form>
  );
}
