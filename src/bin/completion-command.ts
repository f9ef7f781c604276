/** `snapctr completion`: a script for a shell, made of the program's own definition. */
import { Argument, type Command } from 'commander';

const SHELLS = ['bash', 'zsh'] as const;

const EXAMPLES = `
Examples:
  $ source <(snapctr completion bash)                     in this shell
  $ snapctr completion bash >> ~/.bashrc
  $ snapctr completion zsh > "\${fpath[1]}/_snapctr"`;

export function registerCompletionCommand(program: Command): void {
  program
    .command('completion')
    .description('print a script that completes commands and options')
    .addArgument(new Argument('<shell>').choices(SHELLS))
    .addHelpText('after', EXAMPLES)
    .action((shell: (typeof SHELLS)[number]) => {
      process.stdout.write(shell === 'bash' ? bashScript(program) : zshScript(program));
    });
}

/** Words that may follow a command, by the command: "" is the program, "keys add" one two levels down. */
export function wordsOf(program: Command): ReadonlyMap<string, readonly string[]> {
  const words = new Map<string, readonly string[]>();
  const visit = (command: Command, path: readonly string[]): void => {
    const options = command.options.filter(({ hidden }) => !hidden).flatMap(({ long }) => long ?? []);
    const choices = command.registeredArguments.flatMap(({ argChoices }) => argChoices ?? []);
    const commands = command.commands.map((one) => one.name());
    words.set(path.join(' '), [...commands, ...choices, ...options, '--help']);
    for (const one of command.commands) visit(one, [...path, one.name()]);
  };
  visit(program, []);
  return words;
}

/** Files where nothing else fits. Words of commands are ours alone: nothing in them needs quoting. */
function bashScript(program: Command): string {
  const name = program.name();
  const cases = [...wordsOf(program)].map(([path, words]) => `    '${path}') words='${words.join(' ')}' ;;`);
  return `# Completion of ${name} for bash.
_${name}() {
  local word path='' next words='' current="\${COMP_WORDS[COMP_CWORD]}"
  local known=' ${[...wordsOf(program).keys()].map((path) => path.replaceAll(' ', '/')).join(' ')} '
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    next="\${path:+$path/}$word"
    if [[ "$known" == *" $next "* ]]; then path="$next"; fi
  done
  case "\${path//\\// }" in
${cases.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  if [[ \${#COMPREPLY[@]} -eq 0 ]]; then COMPREPLY=($(compgen -f -- "$current")); fi
}
complete -o filenames -F _${name} ${name}
`;
}

/** zsh runs that of bash. */
function zshScript(program: Command): string {
  return `#compdef ${program.name()}
autoload -U +X bashcompinit && bashcompinit
${bashScript(program)}`;
}
