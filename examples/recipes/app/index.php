<?php
// Recipes: a list, and a form for each. Each is one document.
declare(strict_types=1);

use MongoDB\BSON\ObjectId;
use MongoDB\Driver\{BulkWrite, Manager, Query};
use MongoDB\Driver\Exception\BulkWriteException;

function h(mixed $text): string
{
    return htmlspecialchars((string) $text, ENT_QUOTES | ENT_SUBSTITUTE, 'UTF-8');
}

function refuse(int $status, string $why): never
{
    http_response_code($status);
    exit(h($why));
}

/** A text that was posted. */
function posted(string $name, int $longest): string
{
    $text = is_string($_POST[$name] ?? null) ? str_replace("\r\n", "\n", $_POST[$name]) : '';
    preg_match("/^[^\\x00]{0,$longest}\$/Dsu", $text) || refuse(400, "The field $name is too long, or no text.");
    return trim($text);
}

/** Ingredients are lines: `flour: 250 g`, or only `cumin`. */
function ingredients(string $lines): array
{
    $ingredient = function (string $line): array {
        [$what, $amount] = array_map(trim(...), explode(':', $line, 2) + [1 => '']);
        return $amount === '' ? ['what' => $what] : ['what' => $what, 'amount' => $amount];
    };
    return array_map($ingredient, array_values(array_filter(explode("\n", $lines), fn ($line) => trim($line) !== '')));
}

function lines(array $ingredients): string
{
    return implode("\n", array_map(fn ($one) => implode(': ', array_filter([$one->what, $one->amount ?? ''])), $ingredients));
}

header("Content-Security-Policy: default-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'");
session_start(['cookie_httponly' => true, 'cookie_samesite' => 'Strict', 'use_strict_mode' => true]);
$token = $_SESSION['token'] ??= bin2hex(random_bytes(32));
$db = new Manager('mongodb://127.0.0.1:27017');

if ($_SERVER['REQUEST_METHOD'] === 'POST') {
    hash_equals($token, posted('token', 100)) || refuse(403, 'This form is not from this page. Reload it and try again.');
    $id = posted('id', 24);
    preg_match('/^([0-9a-f]{24})?$/D', $id) || refuse(400, 'No such recipe.');
    $recipe = ['_id' => $id === '' ? new ObjectId() : new ObjectId($id)];
    $write = new BulkWrite();
    if (isset($_POST['remove'])) {
        $write->delete($recipe, ['limit' => 1]);
    } else {
        $range = ['options' => ['min_range' => 1, 'max_range' => 1000]];
        $values = [
            'name' => posted('name', 200) ?: refuse(400, 'A recipe needs a name.'),
            'serves' => filter_var(posted('serves', 10), FILTER_VALIDATE_INT, $range) ?: refuse(400, 'For how many is it?'),
            'ingredients' => ingredients(posted('ingredients', 5000)),
            'text' => posted('text', 20000),
        ];
        $id === '' ? $write->insert($recipe + $values) : $write->update($recipe, ['$set' => $values]);
    }
    try {
        $db->executeBulkWrite('recipes.recipes', $write);
    } catch (BulkWriteException) {
        refuse(409, 'There is another recipe of this name.');
    }
    header('Location: ./', true, 303);
    exit;
}

$count = new BulkWrite();
$count->update(['_id' => 'page'], ['$inc' => ['count' => 1]], ['upsert' => true]);
$db->executeBulkWrite('recipes.visits', $count);
$recipes = $db->executeQuery('recipes.recipes', new Query([], ['sort' => ['name' => 1]]))->toArray();
$recipes[] = (object) ['_id' => '', 'name' => '', 'serves' => 2, 'ingredients' => [], 'text' => ''];
?>
<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Recipes</title>
<link rel="stylesheet" href="style.css">
<h1>Recipes</h1>
<?php foreach ($recipes as $recipe): ?>
<form method="post" class="card">
    <h2><?= h($recipe->name ?: 'A new one') ?></h2>
    <input type="hidden" name="token" value="<?= h($token) ?>">
    <input type="hidden" name="id" value="<?= h($recipe->_id) ?>">
    <label>Name <input name="name" value="<?= h($recipe->name) ?>" required></label>
    <label>For how many <input name="serves" type="number" min="1" max="1000" value="<?= h($recipe->serves) ?>"></label>
    <label>Ingredients <textarea name="ingredients" rows="4"><?= h(lines($recipe->ingredients)) ?></textarea></label>
    <label>How <textarea name="text" rows="3"><?= h($recipe->text) ?></textarea></label>
    <button>Save</button>
<?php if ($recipe->_id): ?>
    <button name="remove" value="yes" formnovalidate>Remove</button>
<?php endif ?>
</form>
<?php endforeach ?>
